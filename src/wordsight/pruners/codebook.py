"""Codebook: drop the tokens that look like prototypes that say nothing.

"Beyond Intermediate States: Explaining Visual Redundancy through Language",
https://arxiv.org/abs/2503.20540. Differs from the released code: original positions by default, any batch
size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval
from torch import Tensor

from wordsight.errors import UsageError
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import ScorePruner
from wordsight.pruners.book import BookPruner


@dataclass(kw_only=True)
class CodebookPruner(BookPruner, ScorePruner):
    """Keeps the least redundant tokens.

    threshold  keep every token with a cosine below it, and at least one, whatever `keep` says: the count
               adapts to the picture.
    rule       how redundancy is read off the cosines (N, M): "cosine", their maximum; "single_softmax",
               softmax over prototypes first; "double_softmax", that times the softmax over tokens (the
               authors' rule for OneVision).
    """

    threshold: Annotated[float, "a cosine", Interval(ge=-1, le=1)] | None = None
    rule: Literal["cosine", "single_softmax", "double_softmax"] = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold is not None and self.rule != "cosine":
            raise UsageError(
                f"threshold {self.threshold} is a cosine: it goes with rule=cosine, not {self.rule}"
            )

    @property
    def has_fixed_budget(self) -> bool:
        return self.threshold is None

    def select(self, tokens: VisualTokens) -> VisualTokens:
        if self.threshold is None:
            return super().select(tokens)
        redundancy = self.book.redundancy(tokens.embeds)  # (N,)
        below = int((redundancy < self.threshold).sum())
        return tokens.take(redundancy.argsort(stable=True)[: max(1, below)])

    def drops_all(self, tokens: VisualTokens) -> bool:
        if self.threshold is None:
            return False
        return not bool((self.book.redundancy(tokens.embeds[~tokens.is_break]) < self.threshold).any())

    def score(self, tokens: VisualTokens) -> Tensor:
        if self.rule == "cosine":
            return -self.book.redundancy(tokens.embeds)
        cosine = self.book.similarity(tokens.embeds)  # (N, M)
        weight = cosine.softmax(1)
        if self.rule == "double_softmax":
            weight = weight * cosine.softmax(0)
        return -weight.amax(-1)
