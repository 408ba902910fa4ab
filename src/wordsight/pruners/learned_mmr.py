"""Learned and diversity: keep tokens that are far from one another and that a scorer expects to tell much.

Maximal marginal relevance (https://doi.org/10.1145/290941.291025) with a scorer (redundancy/scorer.py) as
relevance. Ours; with weight=0 it is DivPrune.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval
from torch import Tensor

from wordsight.algorithms.selection import cosine_distance, farthest_first, min_max_scaled
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.scorer import ScorerPruner


@dataclass(kw_only=True)
class LearnedMMR(ScorerPruner):
    """Greedily adds the token with the highest (1 - weight) * cosine distance to the nearest kept token +
    weight * expected divergence, scaled to [0, 1] among the tokens.

    weight   in [0, 1): how much the scorer counts beside diversity; the default is the best of 1/6, 1/3 and
             1/2 on validation scenes of the embedded model, at 5 % (docs/results.md, A prior for diversity).
    """

    weight: Annotated[float, Interval(ge=0, lt=1)] = 1 / 6

    def select(self, tokens: VisualTokens) -> VisualTokens:
        bonus = self.weight / (1 - self.weight) * min_max_scaled(self.relevance(tokens))
        return tokens.take(farthest_first(cosine_distance(tokens.embeds), self.count(tokens), bonus))

    def relevance(self, tokens: VisualTokens) -> Tensor:
        """(N,) what counts beside diversity."""
        return self.fitted.predict(tokens.embeds)
