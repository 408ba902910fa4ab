"""[CLS] top-k: keep the patches to which the vision tower's [CLS] token pays most attention (FasterVLM).

"[CLS] Attention is All You Need for Training-Free Visual Token Pruning", https://arxiv.org/abs/2412.01818.
Re-implemented from the paper. Differs from the released code in the fallback for towers without [CLS]: the
attention that a patch gets from all patches. Kept tokens stay where they were, since closing the gaps ruins
grounding (`positions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, ScorePruner
from wordsight.pruners.scopes import BudgetScope


@dataclass(kw_only=True)
class ClsTopK(ScorePruner):
    """Attention from [CLS], mean over heads."""

    PUBLISHED = CONTIGUOUS
    required_signals: ClassVar[frozenset[str]] = frozenset({"cls_attention"})
    budget: BudgetScope = "crop"

    def score(self, tokens: VisualTokens) -> Tensor:
        return tokens.signals["cls_attention"]
