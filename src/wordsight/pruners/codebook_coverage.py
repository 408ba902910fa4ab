"""Codebook and coverage: keep tokens that cover the others and that the codebook does not call redundant.

Facility location (as in SCOPE, https://arxiv.org/abs/2510.24214) with the codebook of "Beyond Intermediate
States: Explaining Visual Redundancy through Language" (https://arxiv.org/abs/2503.20540) as quality. Ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from wordsight.algorithms.selection import cosine, facility_location
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.book import BookPruner


@dataclass(kw_only=True)
class CodebookCoverage(BookPruner):
    """Greedy coverage by cosine, each gain times (1 - redundancy)."""

    def select(self, tokens: VisualTokens) -> VisualTokens:
        return tokens.take(facility_location(cosine(tokens.embeds), self.count(tokens), self.quality(tokens)))
