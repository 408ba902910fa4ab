"""VisPruner: keep the patches that [CLS] attends to, and of the others those that are no duplicates.

"Beyond Text-Visual Attention: Exploiting Visual Cues for Effective Token Pruning in VLMs",
https://arxiv.org/abs/2412.01818. Re-implemented from the rule. Differs from the released code: an odd number
of tokens works too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wordsight._utils.options import Fraction
from wordsight.algorithms.selection import cosine, top_indices
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, Pruner
from wordsight.pruners.scopes import BudgetScope

AT_ONCE = 8  # duplicates dropped in a round


@dataclass(kw_only=True)
class VisPruner(Pruner):
    """important: the share of the kept tokens that are chosen by attention, in [0, 1]."""

    PUBLISHED = CONTIGUOUS
    required_signals: ClassVar[frozenset[str]] = frozenset({"cls_attention", "features"})
    budget: BudgetScope = "crop"
    important: Fraction = 0.5

    def select(self, tokens: VisualTokens) -> VisualTokens:
        count = self.count(tokens)
        best = top_indices(tokens.signals["cls_attention"], len(tokens))
        important = int(count * self.important)
        alike = cosine(tokens.signals["features"])
        return tokens.take(
            torch.cat([best[:important], _distinct(best[important:], alike, count - important)])
        )


def _distinct(tokens: Tensor, alike: Tensor, count: int) -> Tensor:
    """The `count` that are left when, in rounds, those of every other token go that are most similar to one
    of those between.
    """
    while len(tokens) > count:
        ours, others = tokens[::2], tokens[1::2]
        if not len(others):
            return tokens[:count]
        order = top_indices(alike[ours[:, None], others].amax(-1), len(ours))
        going = min(AT_ONCE, len(tokens) - count, len(ours))
        tokens = torch.cat([ours[order[going:]], others])
    return tokens
