"""Greedy selectors: which tokens to keep so that they differ or cover the others, whatever their quality.

Pruners share them; a pruner brings the distance, the similarity or the quality.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

P = ParamSpec("P")

TIE = 1e-6  # gains that are no farther apart are equal, as a share of the highest
NOTHING = 1e-13  # of the first gain: less than that is left by rounding, sums being double
BLOCK = 1024  # tokens that are compared with all others at a time
COVERED = 128  # things whose cover is summed at a time: so many rows fit into the cache of a core
ROUNDING = 1e-6  # of what a token is worth alone: less than that is left by rounding, kernels being float32


def loops_on_cpu(choose: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """The function on copies on the CPU of the tensors that it is given by place, its indices back on the
    device of the first.

    A loop of small steps takes less time there: to ask a GPU for one takes longer than the step, and to look
    at a number waits for all that was asked before. Large products are made before, where the tokens are. A
    matrix (N, N) is copied as a whole, 1.6 GB of 20,000 tokens: asking for a row of it in every step would be
    such a loop again. Most loops are of arrays, whose small operations cost least.
    """

    @wraps(choose)
    def moved(*given: P.args, **options: P.kwargs) -> Tensor:
        device = next(each.device for each in given if isinstance(each, Tensor))
        there = [each.detach().cpu() if isinstance(each, Tensor) else each for each in given]
        with torch.device("cpu"):  # for what the loop makes, whatever the default device is
            return choose(*there, **options).to(device)  # type: ignore[arg-type]  # as given, but for devices

    return moved


def top_indices(scores: Tensor, count: int) -> Tensor:
    """(count,) indices of the highest scores (N,), highest first."""
    # A stable sort: equal scores are kept in reading order, on every machine.
    return scores.float().argsort(descending=True, stable=True)[:count]


def directions(embeds: Tensor) -> Tensor:
    """(N, D) float32 of length one, whose products are cosines."""
    return torch.nn.functional.normalize(embeds.detach().float(), dim=-1)


def with_doubles(values: Tensor) -> Tensor:
    """The values on a device that knows double precision: their own, but for Apple's GPUs, which do not."""
    return values.cpu() if values.device.type == "mps" else values


def cosine(embeds: Tensor) -> Tensor:
    """(N, N) the cosine of every two tokens (N, D), compared in float32."""
    unit = directions(embeds)
    alike = unit.new_empty(len(unit), len(unit))
    for start in range(0, len(unit), BLOCK):
        rows, rest = slice(start, start + BLOCK), slice(start + BLOCK, None)
        alike[rows, start:] = unit[rows] @ unit[start:].T
        alike[rest, rows] = alike[rows, rest].T
    return alike


def cosine_distance(embeds: Tensor) -> Tensor:
    """(N, N) one minus the cosine of every two tokens (N, D)."""
    return cosine(embeds).neg_().add_(1)


def most_similar(embeds: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) the highest cosine of every token (N, D) with one of the others (M, D), and (N,) with which."""
    unit, theirs = directions(embeds), directions(others)
    best = [(rows @ theirs.T).max(-1) for rows in torch.split(unit, BLOCK)]
    return torch.cat([each.values for each in best]), torch.cat([each.indices for each in best])


def farthest_first(distance: Tensor, count: int, bonus: Tensor | None = None) -> Tensor:
    """(count,) indices picked greedily, each the farthest (N, N) from those before, in the order of picking.

    Column i may be weighed by how much token i is worth, which makes its distances from others larger. The
    first is the one whose nearest neighbor is farthest away. A `bonus` (N,) is added to the distance: that
    makes it maximal marginal relevance (https://doi.org/10.1145/290941.291025).
    """
    worth = torch.zeros_like(distance[0]) if bonus is None else bonus
    return _farthest_first(distance, _from_others(distance), worth, count)


@loops_on_cpu
def _farthest_first(distance: Tensor, nearest: Tensor, worth: Tensor, count: int) -> Tensor:
    """The same, of how far the nearest of all others is of each (N,)."""
    rows, near, bonus = distance.numpy(), nearest.numpy(), worth.numpy()
    chosen = np.zeros(count, dtype=np.int64)
    for i in range(count):
        best = chosen[i] = (near + bonus).argmax()
        near = np.minimum(near, rows[best]) if i else rows[best].copy()
        near[best] = -np.inf
    return torch.from_numpy(chosen)


def _from_others(distance: Tensor) -> Tensor:
    """(N,) the smallest distance (N, N) of each in its column, but for that from itself."""
    nearest = torch.full_like(distance[0], torch.inf)
    for start in range(0, len(distance), BLOCK):
        rows = distance[start : start + BLOCK].clone()
        rows.diagonal(start).fill_(torch.inf)
        nearest = torch.minimum(nearest, rows.amin(0))
    return nearest


@loops_on_cpu
def facility_location(similarity: Tensor, count: int, quality: Tensor) -> Tensor:
    """(count,) indices picked greedily: each adds most to how well all things are covered, times its quality.

    A thing is covered as well as it is similar (things, N) to the nearest of the tokens picked, at least 0
    (facility location); the things may be the tokens themselves. quality (N,) is not negative.
    """
    similar, worth_each = similarity.numpy(), quality.numpy()
    chosen, floor = np.zeros(count, dtype=np.int64), np.zeros(len(worth_each))
    covered = np.zeros(len(similar), dtype=similar.dtype)  # (things,)
    gain = cover_between(similar, covered, np.full_like(covered, np.inf))
    nothing = NOTHING * gain.max()
    for i in range(count):
        worth = worth_each * np.where(gain > nothing, gain, 0) + floor  # (N,)
        # Two tokens that cover each other gain the same: the first of them, however sums are rounded.
        best = chosen[i] = (worth >= (1 - TIE) * worth.max()).argmax()
        floor[best] = -np.inf  # never again
        before, covered = covered, np.maximum(covered, similar[:, best])
        gain -= cover_between(similar, before, covered)
    return torch.from_numpy(chosen)


def cover_between(similarity: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> NDArray[np.float64]:
    """(N,) how much of all that lies between `low` and `high` (things,) each token covers.

    A token covers a thing as far as it is similar (things, N) to it. With an infinite `high` it is what a
    token adds where things are covered up to `low`. Once they are covered up to `high` it adds so much less,
    which takes only the things, few as a rule, whose cover has risen.
    """
    between = np.zeros(similarity.shape[1])
    risen = np.flatnonzero(high > low)
    for start in range(0, len(risen), COVERED):
        things = risen[start : start + COVERED]
        rows, least = similarity[things], low[things]  # (things, N), (things,)
        np.clip(rows, least[:, None], high[things, None], out=rows)
        between += rows.sum(0, dtype=np.float64) - least.sum(dtype=np.float64)
    return between


@loops_on_cpu
def greedy_dominating_set(near: Tensor, place: Tensor) -> Tensor:
    """(K,) ascending indices, so that every thing is near (N, N) one of them and no two of them are near.

    Picked greedily: of those not near any that was picked, the one near most of them, and among equals the
    one of lowest place (N,). `near` is symmetric, and every thing is near itself.
    """
    free = torch.ones_like(place, dtype=torch.bool)
    count = near.sum(1)  # (N,) how many free things each is near
    chosen = []
    while free.any():
        largest = free & (count == count[free].max())
        best = place.masked_fill(~largest, place.max() + 1).argmin()
        covered = near[best] & free
        free &= ~covered
        count = count - near[covered].sum(0)
        chosen.append(best)
    return torch.stack(chosen).sort().values if chosen else torch.zeros_like(place[:0])


@loops_on_cpu
def greedy_dpp(kernel: Tensor, count: int) -> Tensor:
    """(count,) indices picked greedily: each raises the determinant of their kernel (N, N) most.

    The fast greedy inference of a determinantal point process (https://arxiv.org/abs/1709.05135). Where no
    token raises it any more, the first free ones follow.
    """
    columns, chosen = kernel.numpy(), np.zeros(count, dtype=np.int64)
    left = kernel.diagonal().double().numpy().copy()  # (N,) what each would multiply the determinant by
    least, floor = ROUNDING * left, np.zeros_like(left)
    rows = torch.zeros(count, len(kernel), dtype=torch.double)
    for i in range(count):
        worth = np.where(left <= least, floor, left)
        best = chosen[i] = worth.argmax()
        if worth[best] > 0:
            row = (columns[best] - (rows[:i, best] @ rows[:i]).numpy()) / np.sqrt(left[best])
            rows[i] = torch.from_numpy(row)
            left -= row * row
        left[best] = floor[best] = -np.inf  # never again
    return torch.from_numpy(chosen)


def min_max_scaled(values: Tensor) -> Tensor:
    """(N,) the values between 0, for the lowest, and 1, for the highest; all 1 if there is no difference."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else torch.ones_like(values)


def split_budget(budget: int, weights: Sequence[float], sizes: Sequence[int]) -> list[int]:
    """The budget split in proportion to the weights, exactly (by largest remainders), and none gets more than
    its size; what one cannot take the others get. All sizes together are at least the budget.
    """
    weights = weights if sum(weights) > 0 else sizes
    full: set[int] = set()
    while True:
        open_ = [i for i in range(len(sizes)) if i not in full]
        total = sum(weights[i] for i in open_)
        left = budget - sum(sizes[i] for i in full)
        shares = {i: left * (weights[i] / total if total > 0 else 1 / len(open_)) for i in open_}
        if not (more := {i for i in open_ if shares[i] > sizes[i]}):
            break
        full |= more
    counts = [sizes[i] if i in full else int(shares[i]) for i in range(len(sizes))]
    by_remainder = sorted(open_, key=lambda i: int(shares[i]) - shares[i])
    for i in [i for i in by_remainder if counts[i] < sizes[i]][: budget - sum(counts)]:
        counts[i] += 1
    return counts
