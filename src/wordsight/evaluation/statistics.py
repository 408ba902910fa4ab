"""Intervals: how far off a mean over questions may be, where questions about one picture hang together.

How often they hold what they claim is measured by benchmarks/coverage.py: docs/results.md has the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Len
from numpy.typing import NDArray
from typing_extensions import TypedDict

from wordsight._utils.notes import tell
from wordsight._utils.numbers import counted

FEWEST_PICTURES = 20  # what is found on fewer is not to be believed
POWER = 0.8  # the chance to see what is there, with as many pictures as are needed
Scores = NDArray[np.float64]  # (questions,), each in [0, 1]
Pictures = Sequence[str] | NDArray[np.int64]  # (questions,), which one each is about, by name or number
ROUNDING = 1e-9  # means of one fraction differ in their last digits
SCORES, DIFFERENCES = (0.0, 1.0), (-1.0, 1.0)  # what means lie between
GROUPS = 20  # of pictures, each left out once
ANGLES = np.linspace(0, math.pi / 2, 20_001)
Ends = tuple[float, float] | tuple[None, None]  # of an interval; of one picture there is none
Interval = Annotated[list[float], Len(3, 3), "a mean or median, and the low and high end of its interval"]
Difference = Annotated[
    list[float | None], Len(3, 3), "a mean, and the low and high end of its interval, null for one picture"
]


class Estimate(TypedDict):
    """A mean over pictures; of no value it is null, and so is the interval of one."""

    mean: float | None
    low: float | None
    high: float | None
    pictures: Annotated[int, "that there is a value of"]


def tell_if_few(pictures: int, what: str) -> None:
    """A note, before the work, that what is found on so many is not to be believed, and what would be."""
    if pictures < FEWEST_PICTURES:
        few = counted(pictures, "picture")
        tell(f"{what}: {few}; what is found on fewer than {FEWEST_PICTURES} is not to be believed")


def interval(
    scores: Scores, pictures: Pictures, level: float = 0.95, *, ends: tuple[float, float] = SCORES
) -> Ends:
    """The interval of the mean score over questions about these pictures.

    Pictures, not questions, are what there may be others of: the spread is that of their sums, and the
    quantile that of Student's t. Scores have it in the form of Wilson (1927), in which the spread depends on
    the mean; a difference of scores, between other `ends`, is a paired one. Where no picture differs from the
    others, there is no spread to see: then 3.69 in their number may, at a level of 0.95, at either end (the
    rule of three, Hanley and Lippman-Hand 1983, for both sides).
    """
    return interval_of_tasks([scores], [pictures], level, ends=ends)


def estimate(values: Sequence[float | None], ends: tuple[float, float] = SCORES) -> Estimate:
    """The mean of the values that there are, one for each picture, and its interval."""
    scores = np.array([value for value in values if value is not None])
    if not len(scores):
        return {"mean": None, "low": None, "high": None, "pictures": 0}
    low, high = interval(scores, list(map(str, range(len(scores)))), ends=ends)
    return {"mean": float(scores.mean()), "low": low, "high": high, "pictures": len(scores)}


def interval_of_tasks(
    scores: Sequence[Scores],
    pictures: Sequence[Pictures],
    level: float = 0.95,
    *,
    ends: tuple[float, float] = SCORES,
) -> Ends:
    """The same of the mean over tasks of their mean scores.

    The distances of the mean to its ends are those of the tasks, squared and added (Zou and Donner 2008). Of
    tasks on the same pictures it is too narrow: they are taken as independent.
    """
    means = [clustered_mean(one, names) for one, names in zip(scores, pictures, strict=True)]
    if any(each.pictures < 2 for each in means):
        return None, None
    intervals = [_interval(each, level, ends) for each in means]
    mean = sum(each.value for each in means) / len(means)
    below = math.hypot(*(each.value - low for each, (low, _) in zip(means, intervals, strict=True)))
    above = math.hypot(*(high - each.value for each, (_, high) in zip(means, intervals, strict=True)))
    return mean - below / len(means), mean + above / len(means)


class ClusteredMean(NamedTuple):
    """A mean over questions, its standard error over pictures (NaN for one), and how many they are."""

    value: float
    error: float
    pictures: int


def clustered_mean(scores: Scores, pictures: Pictures) -> ClusteredMean:
    """The mean score, with the error of a ratio of two sums over pictures: of scores and of questions."""
    ids, index = np.unique(pictures, return_inverse=True)
    count, mean = len(ids), float(scores.mean())
    rest = np.bincount(index, weights=scores - mean)
    error = math.sqrt(count / (count - 1) * float(rest @ rest)) / len(scores) if count > 1 else math.nan
    return ClusteredMean(mean, error, count)


class Resampled(NamedTuple):
    """A score of all pictures that is no mean over them, and what it is without each group of a few."""

    value: float
    without: tuple[float, ...]

    @classmethod
    def of(cls, aggregate: Callable[[Sequence[int]], float], pictures: Sequence[str]) -> Resampled:
        """The score that `aggregate` gives of the answers at some places; `pictures` (questions,) names what
        each question is about. Pictures are dealt to groups in turn.

        They are left out, not drawn again: some scores take every picture once (MME's pairs, captions).
        """
        number = {name: i for i, name in enumerate(dict.fromkeys(pictures))}
        groups = [number[name] % GROUPS for name in pictures]
        count = min(GROUPS, len(number))
        left = [[at for at, own in enumerate(groups) if own != group] for group in range(count)]
        without = tuple(map(aggregate, left)) if count > 1 else ()
        return cls(aggregate(range(len(pictures))), without)

    @classmethod
    def mean(cls, seeds: Sequence[Resampled]) -> Resampled:
        """The mean over seeds."""
        value, without = (np.mean(each, 0) for each in zip(*seeds, strict=True))
        return cls(float(value), tuple(without.tolist()))

    def minus(self, other: Resampled) -> Resampled:
        """The difference of two scores of the same pictures."""
        pairs = zip(self.without, other.without, strict=True)
        return Resampled(self.value - other.value, tuple(mine - theirs for mine, theirs in pairs))

    def interval(self, level: float = 0.95) -> Ends:
        """That of the delete-a-group jackknife (Kott 2001), with Student's t over the groups; none where no
        group makes a difference.
        """
        count, without = len(self.without), np.array(self.without)
        if count < 2 or np.ptp(without) <= ROUNDING * max(1.0, abs(self.value)):
            return None, None
        error = math.sqrt((count - 1) * float(without.var()))
        reach = student_quantile(level, count - 1) * error
        return self.value - reach, self.value + reach


def margin(pictures: int, level: float = 0.95) -> float:
    """The share of all other pictures that may be unlike these, where these are all alike."""
    return min(1.0, -math.log((1 - level) / 2) / pictures)


def pictures_needed(
    differences: Scores, pictures: Pictures, effect: float, level: float = 0.95
) -> int | None:
    """How many pictures, with as many questions about each, tell a mean difference of `effect` from none in
    four draws of five; None if no number does.

    The spread is that of these pictures, but at least that of independent questions: a few pictures may agree
    by chance. Where hardly any picture differs, it takes as many as show one that does, or as leave no more
    than the effect unseen.
    """
    if effect <= 0:
        return None
    mean = clustered_mean(differences, pictures)
    alone = float(differences.std()) / math.sqrt(max(1, len(differences) - 1))
    error = alone if mean.pictures == 1 else max(alone, mean.error)
    reach = NormalDist().inv_cdf((1 + level) / 2) + NormalDist().inv_cdf(POWER)
    differing = len({name for name, each in zip(pictures, differences, strict=True) if each})
    unseen = -math.log((1 - level) / 2) * min(1 / effect, mean.pictures / max(differing, 1e-9))
    return math.ceil(max(FEWEST_PICTURES, mean.pictures * (reach * error / effect) ** 2, unseen))


@lru_cache
def student_quantile(level: float, degrees: float) -> float:
    """The t that a variable of Student's distribution lies within, both ways, with a chance of `level`."""
    # The tangent of an angle whose density is cos ** (degrees - 1) is distributed so, but for its scale.
    density = np.cos(ANGLES) ** (degrees - 1)
    chance = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return math.sqrt(degrees) * math.tan(float(np.interp(level, chance / chance[-1], ANGLES)))


def _interval(mean: ClusteredMean, level: float, ends: tuple[float, float]) -> tuple[float, float]:
    """The interval of a mean over two pictures or more."""
    value, least, most = mean.value, *ends
    if mean.error <= ROUNDING:
        share = margin(mean.pictures, level)
        return value - share * (value - least), value + share * (most - value)
    reach = student_quantile(level, mean.pictures - 1) * mean.error
    if ends == DIFFERENCES:
        return max(least, value - reach), min(most, value + reach)
    variance = value * (1 - value)  # of a score that is 0 or 1
    weight = reach**2 / variance
    center, half = value + weight / 2, math.sqrt(reach**2 + weight**2 / 4)
    return (center - half) / (1 + weight), (center + half) / (1 + weight)
