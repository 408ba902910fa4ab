"""Codebook and diversity: keep tokens that are far from one another and far from everything redundant.

Maximal marginal relevance (https://doi.org/10.1145/290941.291025) with the codebook of "Beyond Intermediate
States: Explaining Visual Redundancy through Language" (https://arxiv.org/abs/2503.20540) as relevance. Ours;
with weight=0 it is DivPrune.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from wordsight.algorithms.selection import cosine_distance, farthest_first
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.book import BookPruner

UNCHOSEN = 0.5  # the weight of a book that no calibration has tried beside diversity


@dataclass(kw_only=True)
class CodebookMMR(BookPruner):
    """Greedily adds the token with the highest (1 - weight) * cosine distance to the nearest kept token +
    weight * (1 - redundancy).

    weight   in [0, 1): how much redundancy counts beside diversity; by default what calibrate chose for the
             book, which is 0 where DivPrune was best, and 0.5 of a book that does not say so.
    """

    weight: Annotated[float, Interval(ge=0, lt=1)] | None = None

    @property
    def digest(self) -> str:  # of the weight, too, which the digest of a book does not tell
        return f"{super().digest}, weight {self._weight}" if self.weight is None else super().digest

    def select(self, tokens: VisualTokens) -> VisualTokens:
        bonus = self._weight / (1 - self._weight) * (1 - self.book.redundancy(tokens.embeds))
        return tokens.take(farthest_first(cosine_distance(tokens.embeds), self.count(tokens), bonus))

    @property
    def _weight(self) -> float:
        if self.weight is not None:
            return self.weight
        beside = self.book.config.get("calibrated", {}).get("beside_diversity")
        return beside["weight"] if beside else UNCHOSEN
