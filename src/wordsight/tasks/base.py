"""Task: questions about pictures with known answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Literal

from wordsight.errors import UsageError
from wordsight.pictures import Picture

Split = Literal["validation", "test"]


@dataclass(frozen=True)
class Example:
    """One question about one or more images; those with the same `picture_id` are about the same images."""

    images: Picture | Sequence[Picture]
    picture_id: str
    question: str
    answer: str
    type: str


@dataclass(kw_only=True)
class Task:
    """Base of all tasks: iterate examples, score one answer."""

    max_new_tokens: ClassVar[int] = 12
    split: Split = "test"

    def __post_init__(self) -> None:
        if self.split not in ("validation", "test"):
            raise UsageError(f"split must be 'validation' or 'test', got {self.split!r}")

    def examples(self) -> Iterator[Example]:
        """The questions of the split, always in the same order, those about one picture together."""
        raise NotImplementedError

    def first(self, limit: int | None) -> list[Example]:
        """The first `limit` questions, or all of them."""
        return list(islice(self.examples(), limit))

    def score(self, example: Example, said: str) -> float:
        """1 if the answer is right, 0 if it is not: the same words, whatever their case and punctuation."""
        return float(_words(said) == _words(example.answer))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
