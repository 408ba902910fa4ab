"""BookPruner: a method with a codebook."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field

from torch import Tensor

from wordsight.errors import located
from wordsight.models.tokens import VisualTokens
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner
from wordsight.redundancy.codebook import Codebook


@dataclass(kw_only=True)
class BookPruner(Pruner):
    """A method with a codebook: a folder, "demo" or "demo-photos" for that model's own, or a Codebook."""

    codebook: str | Codebook = "demo"
    book: Codebook = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.codebook
        self.book = given if isinstance(given, Codebook) else Codebook.from_pretrained(given)

    @property
    def digest(self) -> str:
        return self.book.digest

    def quality(self, tokens: VisualTokens) -> Tensor:
        """(N,) from 0 on: how little the book calls each token redundant."""
        return (1 - self.book.redundancy(tokens.embeds)).clamp(min=0)

    def check(self, vlm: VLM) -> None:
        super().check(vlm)
        with located("codebook=demo, the default") if self.codebook == "demo" else nullcontext():
            self.book.check(vlm)
