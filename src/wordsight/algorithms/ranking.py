"""Ranking: what the order that a signal gives to the tokens of a picture tells of what they say.

"Beyond Intermediate States: Explaining Visual Redundancy through Language", https://arxiv.org/abs/2503.20540,
the section on intermediate states. Differs from the authors' notebook: every picture is ordered by itself.
The notebook adds attention up over pictures before it orders, which mixes places with tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

TENTHS = 10


def ranks(values: Tensor) -> Tensor:
    """(N,) in [0, 1], the place of every value in their order; ties share their mean place."""
    group, count = torch.unique(values, return_inverse=True, return_counts=True)[1:]
    place: Tensor = count.cumsum(0) - (count + 1) / 2
    return place[group] / max(1, len(values) - 1)


class Halves(NamedTuple):
    """Indices of as many tokens that an order ranks lowest as of those that it ranks highest."""

    low: Tensor
    high: Tensor


def correlation(order: Tensor, values: Tensor) -> float | None:
    """Spearman's rho of two signals (N,) of one picture's tokens; None if one of them is constant."""
    if is_constant(order) or is_constant(values):
        return None
    first, second = (place - place.mean() for place in (ranks(order).double(), ranks(values).double()))
    return float(first @ second / (first.norm() * second.norm()))


def is_constant(signal: Tensor) -> bool:
    """Whether a signal (N,) orders nothing."""
    return not len(signal) or bool((signal == signal[0]).all())


def halves(order: Tensor) -> Halves | None:
    """The lowest and the highest half, equal values in reading order; the middle one of an odd number is in
    neither. None if the signal is constant.
    """
    if is_constant(order):
        return None
    places, half = order.argsort(stable=True), len(order) // 2
    return Halves(places[:half].sort().values, places[len(order) - half :].sort().values)


def common_halves(orders: Sequence[Tensor]) -> Halves | None:
    """The tokens in the lowest half of every order, and as many others whose mean rank is highest.

    None if a signal is constant, or no token is in all of the lowest halves.
    """
    split = [halves(order) for order in orders]
    times = torch.zeros(len(orders[0]), dtype=torch.long)
    for half in split:
        if half is None:
            return None
        times[half.low] += 1
    low = (times == len(orders)).nonzero()[:, 0]
    if not len(low):
        return None
    mean = torch.stack([ranks(order) for order in orders]).mean(0)
    mean[low] = -1
    return Halves(low, mean.argsort(descending=True, stable=True)[: len(low)].sort().values)


def decile_means(order: Tensor, values: Tensor) -> list[float | None]:
    """The mean of `values` (N,) in every tenth of the tokens, the lowest first; None where there is no token.

    Tokens of equal value are in one tenth, that of their mean place.
    """
    tenth = (ranks(order) * TENTHS).floor().clamp(max=TENTHS - 1)
    rows = [values[tenth == number] for number in range(TENTHS)]
    return [float(row.double().mean()) if len(row) else None for row in rows]
