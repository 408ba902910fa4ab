"""What the gates measure besides accuracy, and the intervals of it all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordsight.evaluation.statistics import interval

RESAMPLES, LEVEL = 2000, 0.95
BINS = 10

Values = NDArray[np.float64]


def accuracy(right: Sequence[bool], pictures: Sequence[str]) -> dict[str, Any]:
    """The share of right answers, and its interval over pictures."""
    scores = np.array(right, float)
    return {"value": float(scores.mean()), "interval": list(interval(scores, pictures)), "n": len(right)}


def calibration_error(confidence: Values, right: Values) -> float:
    """The mean distance of confidence from accuracy over ten bins of equal width, by their size."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, confidence - right, BINS)
    return float(np.abs(gaps).sum() / len(right))


def area_under_curve(positive: Values, negative: Values) -> float:
    """How often a positive is above a negative; ties count half."""
    both = np.concatenate([negative, positive])
    _, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[inverse][len(negative) :]
    count = len(positive)
    return float((ranks.sum() - count * (count + 1) / 2) / (count * len(negative)))


def resampled(measure: Callable[..., float], *columns: Values) -> dict[str, Any]:
    """A measure of pictures, one row each, with its percentile interval: columns of one length are drawn
    together.
    """
    rng = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES):
        drawn = {length: rng.integers(length, size=length) for length in {len(one) for one in columns}}
        found.append(measure(*(one[drawn[len(one)]] for one in columns)))
    edges = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"value": measure(*columns), "interval": edges.tolist(), "n": sum(map(len, columns))}
