"""TOPS, stage 1: keep tokens that [CLS] attends to, that cover what is not covered, and that differ.

"TOPS", https://arxiv.org/abs/2606.27161, equations 6 and 7. Re-implemented from the rule; its second stage,
inside the language model, is not here. The tower's features are compared, and scaled among the tokens not yet
picked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from wordsight._utils.options import NotNegative
from wordsight.algorithms.selection import cosine, cover_between, loops_on_cpu, min_max_scaled
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import Pruner

STEP = 2.0**-30  # of which cosines are made multiples


@dataclass(kw_only=True)
class TOPS(Pruner):
    """Greedy: relevance + coverage * what a token adds to the cover of the others + diversity * distance to
    the nearest picked. The paper has both weights in [0.5, 1].
    """

    PUBLISHED: ClassVar = {}  # the rule of the paper: no code is released
    required_signals: ClassVar[frozenset[str]] = frozenset({"cls_attention", "features"})
    coverage: NotNegative = 0.5
    diversity: NotNegative = 0.5

    def select(self, tokens: VisualTokens) -> VisualTokens:
        # Sums of multiples of a power of two are exact in double precision, in any order.
        alike = cosine(tokens.signals["features"]).div_(STEP).round_().mul_(STEP)
        relevance = min_max_scaled(tokens.signals["cls_attention"].float())
        return tokens.take(_picked(alike, relevance, self.count(tokens), self.coverage, self.diversity))


@loops_on_cpu
def _picked(alike: Tensor, relevance: Tensor, count: int, coverage: float, diversity: float) -> Tensor:
    """(count,) indices, in the order of picking, of cosines (N, N) and relevance (N,) in [0, 1]."""
    similar, chosen = alike.numpy(), [int(relevance.argmax())]
    free = np.ones(len(similar), dtype=bool)
    nearest = similar[chosen[0]].copy()  # cosine with the nearest picked
    nearest[chosen] = np.inf
    gain = cover_between(similar, nearest, np.full_like(nearest, np.inf))
    for _ in range(count - 1):
        free[chosen[-1]] = False
        left = np.flatnonzero(free)
        cover = min_max_scaled(torch.from_numpy(gain[left]).float())
        worth = relevance.numpy()[left] + coverage * cover.numpy() + diversity * (1 - nearest[left])
        chosen.append(int(left[worth.argmax()]))
        before, nearest = nearest, np.maximum(nearest, similar[chosen[-1]])
        nearest[chosen[-1]] = np.inf
        gain -= cover_between(similar, before, nearest)
    return torch.tensor(chosen)
