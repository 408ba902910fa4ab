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
from wordsight.algorithms.selection import cosine, min_max_scaled
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import Pruner


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
        alike = cosine(tokens.signals["features"])
        relevance = min_max_scaled(tokens.signals["cls_attention"].float())
        free = torch.ones(len(tokens), dtype=torch.bool, device=alike.device)
        nearest = torch.full_like(relevance, -torch.inf)  # cosine with the nearest picked
        chosen = relevance.argmax()[None]
        for _ in range(self.count(tokens) - 1):
            free[chosen[-1]] = False
            nearest = torch.maximum(nearest, alike[chosen[-1]])
            left = free.nonzero()[:, 0]
            gain = (alike[left][:, left] - nearest[left]).clamp(min=0).sum(1)
            worth = (
                relevance[left] + self.coverage * min_max_scaled(gain) + self.diversity * (1 - nearest[left])
            )
            chosen = torch.cat([chosen, left[worth.argmax()][None]])
        return tokens.take(chosen)
