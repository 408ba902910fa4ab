"""[CLS] similarity: keep the patches most (or least) similar to the vision tower's [CLS] feature.

The comparison of "Beyond Intermediate States: Explaining Visual Redundancy through Language",
https://arxiv.org/abs/2503.20540. Re-implemented from the paper. Kept tokens stay where they were, since
closing the gaps ruins grounding (`positions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, ScorePruner
from wordsight.pruners.scopes import BudgetScope


@dataclass(kw_only=True)
class ClsSimilarity(ScorePruner):
    """prefer: keep the tokens of "high" or of "low" cosine with [CLS]."""

    PUBLISHED = CONTIGUOUS
    required_signals: ClassVar[frozenset[str]] = frozenset({"cls_similarity"})
    budget: BudgetScope = "crop"
    prefer: Literal["high", "low"] = "high"

    def score(self, tokens: VisualTokens) -> Tensor:
        similarity = tokens.signals["cls_similarity"]
        return similarity if self.prefer == "high" else -similarity
