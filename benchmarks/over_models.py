"""Intervals of a difference over trained models and pictures, where models are few, and all that is concluded
from them at one level.

Models are trained with several seeds and answer the same questions, so that both are drawn: two crossed
random effects. The variance is that of the bootstrap which draws models and pictures independently of each
other (Owen 2007, "The pigeonhole bootstrap", doi:10.1214/07-AOAS122), written out and corrected for few
models, with Student's t for as many degrees of freedom as it has (Satterthwaite 1946). Percentiles of that
bootstrap are too narrow where three models differ much: benchmarks/coverage.py shows both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from wordsight.evaluation.statistics import (
    DIFFERENCES,
    Pictures,
    Scores,
    clustered_mean,
    interval,
    student_quantile,
)

ALIKE = 0.02  # of the score; a difference within it matters to nobody


class Pooled(TypedDict):
    """A mean difference and the ends of its interval; the rest says where they come from."""

    interval: list[float]
    models: int
    pictures: int
    by_model: list[list[float]]  # with intervals of 95 % over pictures, corrected for nothing
    over_pictures: float  # standard errors
    over_models: float


def corrected(comparisons: int) -> float:
    """The level of each interval so that all of them hold in 95 % of cases or more (Bonferroni)."""
    return 1 - 0.05 / comparisons


def pooled(gaps: NDArray[np.float64], pictures: Pictures, level: float) -> Pooled:
    """Of the differences (M, Q) of models on questions about these pictures (Q,). Of one model, or of answers
    that no picture changes, the interval is one over pictures alone.
    """
    mean, count = clustered_mean(gaps.mean(0), pictures), len(gaps)
    of_models = model_error(gaps, pictures) if count > 1 else 0.0
    if of_models and mean.error:
        low, high = _ends(mean.value, (mean.error, mean.pictures - 1), (of_models, count - 1), level)
    else:
        low, high = _over_pictures(gaps.mean(0), pictures, level)
    return {
        "interval": [mean.value, low, high],
        "models": count,
        "pictures": mean.pictures,
        "by_model": [[float(gap.mean()), *_over_pictures(gap, pictures, 0.95)] for gap in gaps],
        "over_pictures": mean.error,
        "over_models": of_models,
    }


def model_error(gaps: NDArray[np.float64], pictures: Pictures) -> float:
    """The standard error over models: at least what models would differ by if they were alike and only
    answered by chance, as three of them may agree by chance.
    """
    count = len(gaps)
    spread = float(gaps.mean(1).var(ddof=1)) / count
    residuals = gaps - gaps.mean(0)
    chance = sum(clustered_mean(each, pictures).error ** 2 for each in residuals) / (count - 1) / count
    return math.sqrt(max(spread, chance))


def said(ends: Sequence[float]) -> str:
    """What an interval shows, or else excludes."""
    _, low, high = ends
    if low > 0 or high < 0:
        return "above" if low > 0 else "below"
    excluded = f"a gain above {high:.3f} and a loss above {max(0.0, -low):.3f} are excluded"
    return f"{'alike' if max(-low, high) < ALIKE else 'not told apart'}: {excluded}"


def _ends(
    value: float, first: tuple[float, float], second: tuple[float, float], level: float
) -> tuple[float, float]:
    """Of a mean with two errors, each with its degrees of freedom."""
    variance = first[0] ** 2 + second[0] ** 2
    degrees = variance**2 / sum(error**4 / freedom for error, freedom in (first, second))
    reach = student_quantile(level, round(degrees, 2)) * math.sqrt(variance)
    return max(-1.0, value - reach), min(1.0, value + reach)


def _over_pictures(gap: Scores, pictures: Pictures, level: float) -> tuple[float, float]:
    low, high = interval(gap, pictures, level, ends=DIFFERENCES)
    assert low is not None, "there are two pictures or more"
    assert high is not None, "there are two pictures or more"
    return low, high
