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


@dataclass(kw_only=True)
class CodebookMMR(BookPruner):
    """Greedily adds the token with the highest (1 - weight) * cosine distance to the nearest kept token +
    weight * (1 - redundancy).

    weight   in [0, 1): how much redundancy counts beside diversity.
    """

    weight: Annotated[float, Interval(ge=0, lt=1)] = 0.5

    def select(self, tokens: VisualTokens) -> VisualTokens:
        bonus = self.weight / (1 - self.weight) * (1 - self.book.redundancy(tokens.embeds))
        return tokens.take(farthest_first(cosine_distance(tokens.embeds), self.count(tokens), bonus))
