"""Codebook and a determinantal point process: keep tokens that differ and that are not redundant.

Greedy inference (as in CDPruner, https://arxiv.org/abs/2506.10967) with the codebook of "Beyond Intermediate
States: Explaining Visual Redundancy through Language" (https://arxiv.org/abs/2503.20540) as quality. Ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from wordsight.algorithms.selection import cosine, greedy_dpp
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.book import BookPruner


@dataclass(kw_only=True)
class CodebookDPP(BookPruner):
    """The kernel is the cosine of two tokens times (1 - redundancy) of both."""

    def select(self, tokens: VisualTokens) -> VisualTokens:
        quality = self.quality(tokens)
        kernel = quality[:, None] * cosine(tokens.embeds) * quality
        return tokens.take(greedy_dpp(kernel, self.count(tokens)))
