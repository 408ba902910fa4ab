"""Task: questions about pictures with known answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from wordsight._utils.options import Count, check_options, check_value
from wordsight.media.images import Picture
from wordsight.media.video import Video
from wordsight.tasks.scoring import Scorer, score

Split = Literal["validation", "test"]
Aggregate = Callable[[Sequence[int]], float]  # of the answers at these places: what they score together


@dataclass(frozen=True)
class Example:
    """One question about one or more images, or a video; those with the same `picture_id` are about the same.

    others   answers that are as right as `answer`.
    source   where it was written, for errors.
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
    source: str = ""
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

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the questions are read from, which nothing may be written over."""
        return ()

    def examples(self) -> Iterator[Example]:
        """The questions of the split, always in the same order, those about one picture together."""
        raise NotImplementedError

    def first(self, limit: int | None, pictures: int | None = None) -> list[Example]:
        """`limit` of the questions about the first `pictures` pictures, those about one picture together.

        Pictures take turns: the first question about each of them, then the second of each, and so on, so
        that a few questions are about many pictures.
        """
        for name, count in (("limit", limit), ("pictures", pictures)):
            check_value(name, count, Count | None)
        most = min((count for count in (limit, pictures) if count is not None), default=None)
        by_picture: dict[str, list[Example]] = {}
        for example in self.examples():
            if example.picture_id not in by_picture and len(by_picture) == most:
                break
            by_picture.setdefault(example.picture_id, []).append(example)
        groups = list(by_picture.values())
        turns = sorted((turn, i) for i, group in enumerate(groups) for turn in range(len(group)))
        taken = Counter(i for _, i in turns[:limit])
        return [example for i, group in enumerate(groups) for example in group[: taken[i]]]

    def score(self, example: Example, generated: str) -> float:
        """1 if the answer is right by the scorer of its question, 0 if it is not."""
        return score(example.scorer, generated, example.answers, dict(example.options))

    def aggregate(self, examples: Sequence[Example], generated: Sequence[str]) -> Aggregate | None:
        """What any of the answers score together, in a unit of its own; None where that is their mean."""
        return None
