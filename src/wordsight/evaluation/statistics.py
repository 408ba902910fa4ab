"""Bootstrap: how far off a mean over questions may be, where questions about one picture hang together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from annotated_types import Len
from numpy.typing import NDArray
from typing_extensions import TypedDict

RESAMPLES = 2000
ENOUGH = 20  # pictures; a bootstrap over fewer is too narrow to be believed
Scores = NDArray[np.float64]  # (questions,), each in [0, 1]
ROUNDING = 1e-9  # resampled means of one fraction differ in their last digits
SCORES, DIFFERENCES = (0.0, 1.0), (-1.0, 1.0)  # what means lie between
Interval = Annotated[list[float], Len(3, 3), "a mean or median, and the low and high end of its interval"]


class Estimate(TypedDict):
    """A mean over pictures; of no value it is null, and so is the interval of one."""

    mean: float | None
    low: float | None
    high: float | None
    pictures: Annotated[int, "that there is a value of"]


def interval(
    scores: Scores, pictures: Sequence[str], level: float = 0.95, *, ends: tuple[float, float] = SCORES
) -> tuple[float, float]:
    """The bootstrap interval of the mean score; `pictures` (questions,) names what each question is about.

    Pictures are resampled, not questions. The interval of a difference of scores is a paired one, between
    other `ends`. Where no picture differs from the others, a bootstrap sees no spread: then up to three in
    their number may, at a level of 0.95 (the rule of three, Hanley and Lippman-Hand 1983).
    """
    return interval_of_tasks([scores], [pictures], level, ends=ends)


def estimate(values: Sequence[float | None], ends: tuple[float, float] = SCORES) -> Estimate:
    """The mean of the values that there are, one for each picture, and its interval."""
    scores = np.array([value for value in values if value is not None])
    names = list(map(str, range(len(scores))))
    low, high = interval(scores, names, ends=ends) if len(scores) > 1 else (None, None)
    mean = float(scores.mean()) if len(scores) else None
    return {"mean": mean, "low": low, "high": high, "pictures": len(scores)}


def interval_of_tasks(
    scores: Sequence[Scores],
    pictures: Sequence[Sequence[str]],
    level: float = 0.95,
    *,
    ends: tuple[float, float] = SCORES,
) -> tuple[float, float]:
    """The same of the mean over tasks of their mean scores.

    The pictures of every task are drawn by themselves: of tasks on the same pictures it is too narrow, and it
    is where some, not all, of the tasks show no spread.
    """
    drawn = [
        _resampled(one, names, seed) for seed, (one, names) in enumerate(zip(scores, pictures, strict=True))
    ]
    means = np.mean(drawn, 0)
    low, high = _between(means, level)
    if np.ptp(means) > ROUNDING:
        return low, high
    # So many pictures of all others, at most, may lie at either end without one of them having been seen.
    share = min(1.0, -math.log(1 - level) * float(np.mean([1 / len(set(names)) for names in pictures])))
    return low - share * (low - ends[0]), high + share * (ends[1] - high)


def _resampled(scores: Scores, pictures: Sequence[str], seed: int) -> Scores:
    """(RESAMPLES,) mean scores of pictures drawn with replacement."""
    ids, index = np.unique(pictures, return_inverse=True)
    totals = np.bincount(index, weights=scores)
    counts = np.bincount(index)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(ids), np.full(len(ids), 1 / len(ids)), RESAMPLES)
    means: Scores = (weights @ totals) / (weights @ counts)
    return means


def _between(means: Scores, level: float) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
