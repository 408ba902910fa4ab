"""Learned: keep the tokens that a scorer expects to tell the language model most.

Ours, no paper: two layers fitted to what the tokens of other pictures say alone (redundancy/scorer.py), a
codebook of another kind.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from wordsight.models.tokens import VisualTokens
from wordsight.models.vlm import VLM
from wordsight.pruners.base import ScorePruner
from wordsight.redundancy.scorer import Scorer


@dataclass(kw_only=True)
class Learned(ScorePruner):
    """Keeps the tokens of the highest blind divergence expected by a scorer: a folder, "demo" for the
    embedded model's, or a Scorer.
    """

    scorer: str | Scorer = "demo"
    fitted: Scorer = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.scorer
        self.fitted = given if isinstance(given, Scorer) else Scorer.from_pretrained(given)

    def check(self, vlm: VLM) -> None:
        super().check(vlm)
        self.fitted.check(vlm)

    def score(self, tokens: VisualTokens) -> Tensor:
        return self.fitted.predict(tokens.embeds)
