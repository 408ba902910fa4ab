"""Cen-Prune: DivPrune by what is left of the tokens without their mean, times how unlike all others each is.

"Cen-Prune" (2026), its rule for DivPrune, re-implemented. The paper's own link is not known to us. Differs
from it in the first token, of which it says nothing: here that with the largest product with the distance to
its nearest neighbor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from wordsight.algorithms.selection import cosine_distance, directions, farthest_first, min_max_scaled
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import Pruner


@dataclass(kw_only=True)
class CenPrune(Pruner):
    """Greedy max-min selection by the cosine distance of centered tokens times their distinctiveness, in [0,
    1].
    """

    PUBLISHED: ClassVar = {}  # the rule of the paper: no code is released

    def select(self, tokens: VisualTokens) -> VisualTokens:
        unit = directions(tokens.embeds)
        others = unit.sum(0) - unit  # (N, D)
        distinct = min_max_scaled(-(unit * others).sum(1) / max(1, len(tokens) - 1))
        embeds = tokens.embeds.float()
        apart = cosine_distance(embeds - embeds.mean(0)).mul_(distinct)
        return tokens.take(farthest_first(apart, self.count(tokens)))
