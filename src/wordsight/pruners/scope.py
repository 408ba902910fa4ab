"""SCOPE: keep tokens that [CLS] attends to and that cover what is not covered yet.

"SCOPE: Saliency-Coverage Oriented Token Pruning for Efficient Multimodel LLMs",
https://arxiv.org/abs/2510.24214. Re-implemented from the rule. Differs from the released code: attention is
the mean over heads, not their sum, which changes no choice. Kept tokens stay where they were, since closing
the gaps ruins grounding (`positions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from wordsight._utils.options import NotNegative
from wordsight.algorithms.selection import cosine, facility_location
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, Pruner
from wordsight.pruners.scopes import BudgetScope


@dataclass(kw_only=True)
class Scope(Pruner):
    """Greedy coverage by the cosine of the tower's features, times the attention from [CLS] to the power
    alpha.
    """

    PUBLISHED = CONTIGUOUS
    required_signals: ClassVar[frozenset[str]] = frozenset({"cls_attention", "features"})
    budget: BudgetScope = "crop"
    alpha: NotNegative = 1.0

    def select(self, tokens: VisualTokens) -> VisualTokens:
        salience = tokens.signals["cls_attention"].float() ** self.alpha
        chosen = facility_location(cosine(tokens.signals["features"]), self.count(tokens), salience)
        return tokens.take(chosen)
