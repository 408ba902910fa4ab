"""Codebook and SCOPE: keep tokens that cover the vision tower's features and say something to the codebook.

Facility location as in SCOPE (https://arxiv.org/abs/2510.24214), with the codebook of "Beyond Intermediate
States: Explaining Visual Redundancy through Language" (https://arxiv.org/abs/2503.20540) in place of its
attention, and its budget for each crop. Ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from wordsight.algorithms.selection import cosine, facility_location
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.book import BookPruner
from wordsight.pruners.scopes import BudgetScope


@dataclass(kw_only=True)
class CodebookScope(BookPruner):
    """Greedy coverage by the cosine of the tower's features, each gain times (1 - redundancy)."""

    required_signals: ClassVar[frozenset[str]] = frozenset({"features"})
    budget: BudgetScope = "crop"

    def select(self, tokens: VisualTokens) -> VisualTokens:
        return tokens.take(
            facility_location(cosine(tokens.signals["features"]), self.count(tokens), self.quality(tokens))
        )
