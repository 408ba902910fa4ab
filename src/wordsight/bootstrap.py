"""Bootstrap: how far off a mean over questions may be, where questions about one picture hang together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
Scores = NDArray[np.float64]  # (questions,), each in [0, 1]


def interval(scores: Scores, pictures: Sequence[str], level: float = 0.95) -> tuple[float, float]:
    """The bootstrap interval of the mean score; `pictures` (questions,) names what each question is about.

    Pictures are resampled, not questions. The interval of a difference of scores is a paired one.
    """
    ids, index = np.unique(pictures, return_inverse=True)
    totals = np.bincount(index, weights=scores)
    counts = np.bincount(index)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(ids), np.full(len(ids), 1 / len(ids)), RESAMPLES)
    means = (weights @ totals) / (weights @ counts)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
