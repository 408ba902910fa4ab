"""Learned: keep the tokens that a scorer expects to tell the language model most.

Ours, no paper: two layers fitted to what the tokens of other pictures say alone (redundancy/scorer.py), a
codebook of another kind.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import ScorePruner
from wordsight.pruners.scorer import ScorerPruner


@dataclass(kw_only=True)
class Learned(ScorerPruner, ScorePruner):
    """Keeps the tokens of the highest blind divergence expected by a scorer."""

    def score(self, tokens: VisualTokens) -> Tensor:
        return self.fitted.predict(tokens.embeds)
