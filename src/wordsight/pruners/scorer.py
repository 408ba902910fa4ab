"""ScorerPruner: a method with a scorer."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field

from wordsight._utils.artifacts import tensors_digest
from wordsight.errors import located
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner
from wordsight.redundancy.scorer import Scorer


@dataclass(kw_only=True)
class ScorerPruner(Pruner):
    """A method with a scorer: a folder, "demo" for the embedded model's, or a Scorer."""

    scorer: str | Scorer = "demo"
    fitted: Scorer = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.scorer
        self.fitted = given if isinstance(given, Scorer) else Scorer.from_pretrained(given)

    @property
    def digest(self) -> str:
        return tensors_digest(self.fitted.layers)

    def check(self, vlm: VLM) -> None:
        super().check(vlm)
        with located("scorer=demo, the default") if self.scorer == "demo" else nullcontext():
            self.fitted.check(vlm)
