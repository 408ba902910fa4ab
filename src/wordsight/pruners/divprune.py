"""DivPrune: keep the subset of tokens that are farthest apart.

"DivPrune: Diversity-based Visual Token Pruning", https://arxiv.org/abs/2503.02175. Re-implemented from the
paper. Differs from the released code where more tokens are asked for than differ: others follow, where it
picks the first one again and again. Kept tokens stay where they were, since closing the gaps ruins grounding
(`positions`).
"""

from __future__ import annotations

from dataclasses import dataclass

from wordsight.algorithms.selection import cosine_distance, farthest_first
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, Pruner


@dataclass(kw_only=True)
class DivPrune(Pruner):
    """Greedy max-min selection by cosine distance."""

    PUBLISHED = CONTIGUOUS

    def select(self, tokens: VisualTokens) -> VisualTokens:
        return tokens.take(farthest_first(cosine_distance(tokens.embeds), self.count(tokens)))
