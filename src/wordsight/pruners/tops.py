"""TOPS, stage 1: keep tokens that [CLS] attends to, that cover what is not covered, and that differ.

"TOPS", https://arxiv.org/abs/2606.27161, equations 6 and 7. Re-implemented from the rule; its second stage,
inside the language model, is not here. The tower's features are compared, and scaled among the tokens not yet
picked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from wordsight._utils.options import NotNegative
from wordsight.algorithms.selection import cosine, cover_between, min_max_scaled, with_doubles
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
        alike = cosine(with_doubles(tokens.signals["features"])).div_(STEP).round_().mul_(STEP)
        relevance = min_max_scaled(with_doubles(tokens.signals["cls_attention"]).float())
        free = torch.ones(len(tokens), dtype=torch.bool, device=alike.device)
        chosen = [relevance.argmax()]
        nearest = alike[chosen[0]].index_fill(0, chosen[0], torch.inf)  # cosine with the nearest picked
        gain = cover_between(alike, nearest, torch.full_like(nearest, torch.inf))
        for _ in range(self.count(tokens) - 1):
            free[chosen[-1]] = False
            left = free.nonzero()[:, 0]
            cover, apart = min_max_scaled(gain[left].float()), 1 - nearest[left]
            worth = relevance[left] + self.coverage * cover + self.diversity * apart
            chosen.append(left[worth.argmax()])
            before = nearest
            nearest = torch.maximum(before, alike[chosen[-1]]).index_fill(0, chosen[-1], torch.inf)
            gain -= cover_between(alike, before, nearest)
        return tokens.take(torch.stack(chosen))
