"""Greedy selectors: which tokens to keep so that they differ or cover the others, whatever their quality.

Pruners share them; a pruner brings the distance, the similarity or the quality.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

TIE = 1e-6  # gains that are no farther apart are equal, as a share of the highest
NOTHING = 1e-13  # of the first gain: less than that is left by rounding, sums being double
BLOCK = 1024  # tokens that are compared with all others at a time
ROUNDING = 1e-6  # of what a token is worth alone: less than that is left by rounding, kernels being float32


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
    chosen = torch.zeros(count, dtype=torch.long, device=distance.device)
    if not count:
        return chosen
    worth = torch.zeros_like(distance[0]) if bonus is None else bonus
    nearest = _from_others(distance)
    for i in range(count):
        chosen[i] = (nearest + worth).argmax()
        row = distance[chosen[i]]
        nearest = torch.minimum(nearest, row) if i else row.clone()
        nearest[chosen[i]] = -torch.inf
    return chosen


def _from_others(distance: Tensor) -> Tensor:
    """(N,) the smallest distance (N, N) of each in its column, but for that from itself."""
    nearest = torch.full_like(distance[0], torch.inf)
    for start in range(0, len(distance), BLOCK):
        rows = distance[start : start + BLOCK].clone()
        rows.diagonal(start).fill_(torch.inf)
        nearest = torch.minimum(nearest, rows.amin(0))
    return nearest


def facility_location(similarity: Tensor, count: int, quality: Tensor) -> Tensor:
    """(count,) indices picked greedily: each adds most to how well all things are covered, times its quality.

    A thing is covered as well as it is similar (things, N) to the nearest of the tokens picked, at least 0
    (facility location); the things may be the tokens themselves. quality (N,) is not negative.
    """
    similarity, quality = with_doubles(similarity), with_doubles(quality)
    chosen = torch.zeros(count, dtype=torch.long, device=similarity.device)
    covered = torch.zeros_like(similarity[:, 0])  # (things,)
    gain = cover_between(similarity, covered, covered + torch.inf)
    nothing, free = NOTHING * gain.max(), torch.ones_like(quality, dtype=torch.bool)
    for i in range(count):
        worth = quality * gain.where(gain > nothing, 0)  # (N,)
        worth[~free] = -torch.inf
        # Two tokens that cover each other gain the same: the first of them, however sums are rounded.
        chosen[i] = (worth >= (1 - TIE) * worth.max()).int().argmax()
        free[chosen[i]] = False
        before, covered = covered, torch.maximum(covered, similarity[:, chosen[i]])
        gain -= cover_between(similarity, before, covered)
    return chosen


def cover_between(similarity: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(N,) double: how much of all that lies between `low` and `high` (things,) each token covers.

    A token covers a thing as far as it is similar (things, N) to it. With an infinite `high` it is what a
    token adds where things are covered up to `low`. Once they are covered up to `high` it adds so much less,
    which takes only the things, few as a rule, whose cover has risen.
    """
    between = torch.zeros_like(similarity[0], dtype=torch.double)
    for things in torch.split((high > low).nonzero()[:, 0], BLOCK):
        rows = similarity[things].clamp_(low[things, None], high[things, None])  # (things, N)
        between += rows.sum(0, dtype=torch.double) - low[things].sum(dtype=torch.double)
    return between


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


def greedy_dpp(kernel: Tensor, count: int) -> Tensor:
    """(count,) indices picked greedily: each raises the determinant of their kernel (N, N) most.

    The fast greedy inference of a determinantal point process (https://arxiv.org/abs/1709.05135). Where no
    token raises it any more, the first free ones follow.
    """
    chosen = torch.zeros(count, dtype=torch.long, device=kernel.device)
    own = kernel.diagonal().double()
    left = own.clone()  # (N,) what each would multiply the determinant by
    rows = torch.zeros(count, len(kernel), dtype=torch.double, device=kernel.device)
    free = torch.ones_like(left, dtype=torch.bool)
    for i in range(count):
        worth = left.masked_fill(left <= ROUNDING * own, 0).masked_fill(~free, -torch.inf)
        best = worth.argmax()
        chosen[i], free[best] = best, False
        if worth[best] <= 0:
            continue
        rows[i] = (kernel[best].double() - rows[:i, best] @ rows[:i]) / left[best].sqrt()
        left = left - rows[i].square()
    return chosen


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
