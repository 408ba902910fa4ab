"""Task: questions about pictures with known answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Literal

from wordsight._utils.options import check_options
from wordsight.media.images import Picture
from wordsight.media.video import Video
from wordsight.tasks.scoring import Scorer, score

Split = Literal["validation", "test"]


@dataclass(frozen=True)
class Example:
    """One question about one or more images, or a video; those with the same `picture_id` are about the same.

    others   answers that are as right as `answer`.
    scorer   how an answer is compared with what was said.
    options  the letters and texts to choose from.
    turns    questions and answers before this one, about the same pictures.
    """

    images: Picture | Sequence[Picture | Video]
    picture_id: str
    question: str
    answer: str
    type: str
    others: tuple[str, ...] = ()
    scorer: Scorer = "exact"
    options: tuple[tuple[str, str], ...] = ()
    turns: tuple[tuple[str, str], ...] = ()

    @property
    def answers(self) -> tuple[str, ...]:
        """All that are right."""
        return (self.answer, *self.others)


@dataclass(kw_only=True)
class Task:
    """Base of all tasks: iterate examples, score one answer between 0 and 1."""

    max_new_tokens: ClassVar[int] = 12
    split: Split = "test"

    def __post_init__(self) -> None:
        check_options(self)

    def examples(self) -> Iterator[Example]:
        """The questions of the split, always in the same order, those about one picture together."""
        raise NotImplementedError

    def first(self, limit: int | None) -> list[Example]:
        """The first `limit` questions, or all of them."""
        return list(islice(self.examples(), limit))

    def score(self, example: Example, generated: str) -> float:
        """1 if the answer is right by the scorer of its question, 0 if it is not."""
        return score(example.scorer, generated, example.answers, dict(example.options))
