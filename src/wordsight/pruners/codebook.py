"""Codebook: drop the tokens that look like prototypes that say nothing.

"Beyond Intermediate States: Explaining Visual Redundancy through Language", https://arxiv.org/abs/2503.20540.
Differs from the released code: any batch size, and a threshold leaves one token at least. Kept tokens stay
where they were, since closing the gaps ruins grounding (`positions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Interval
from torch import Tensor
from typing_extensions import Self

from wordsight._utils.registry import BUDGET
from wordsight.errors import UsageError
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, ScorePruner
from wordsight.pruners.book import BookPruner
from wordsight.pruners.scopes import BudgetScope
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.codebook_config import Rule


@dataclass(kw_only=True)
class CodebookPruner(BookPruner, ScorePruner):
    """Keeps the least redundant tokens.

    threshold  keep every token with a cosine below it, and at least one of what has a budget, whatever `keep`
               says: the count adapts to the picture.
    rule       how redundancy is read off the cosines (N, M): "cosine", their maximum; "single_softmax",
               softmax over prototypes first; "double_softmax", that times the softmax over tokens (the
               authors' rule for OneVision).

    Published, it prunes as the authors do with this book, if it says how: `presets.preset` and `wordsight
    codebook import` make such books. A rule or a budget that is given counts instead.
    """

    PUBLISHED = CONTIGUOUS
    budget: BudgetScope = "crop"
    threshold: Annotated[float, "a cosine", Interval(ge=-1, le=1)] | None = None
    rule: Rule = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold is not None and self.rule != "cosine":
            raise UsageError(
                f"threshold {self.threshold} is a cosine: it goes with rule=cosine, not {self.rule}"
            )

    @classmethod
    def published(cls, **options: Any) -> Self:
        given = options.get("codebook", cls.codebook)
        book = given if isinstance(given, Codebook) else Codebook.from_pretrained(given)
        says = book.config.get("pruning", {}) if not options.keys() & {"rule", *BUDGET} else {}
        return super().published(**{**says, **options})

    def count(self, tokens: VisualTokens) -> int:
        if self.rule == "cosine" or self.tokens:
            return super().count(tokens)
        return max(
            1, len(tokens) - round((1 - self.keep) * len(tokens))
        )  # as released: other halves round up

    @property
    def own_count(self) -> str | None:
        return None if self.threshold is None else f"what its threshold of {self.threshold} leaves"

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
