"""Task: questions about pictures with known answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from wordsight._utils.options import check_options
from wordsight.media.images import Picture
from wordsight.media.video import Video

Split = Literal["validation", "test"]


@dataclass(frozen=True)
class Example:
    """One question about one or more images, or a video; those with the same `picture_id` are about the same.

    `others` are answers that are as right as `answer`. `source` is where it was written, for errors.
    """

    images: Picture | Sequence[Picture | Video]
    picture_id: str
    question: str
    answer: str
    type: str
    others: tuple[str, ...] = ()
    source: str = ""


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

    def first(self, limit: int | None, pictures: int | None = None) -> list[Example]:
        """`limit` of the questions about the first `pictures` pictures, those about one picture together.

        Pictures take turns: the first question about each of them, then the second of each, and so on, so
        that a few questions are about many pictures.
        """
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
        """1 if the answer is right, 0 if it is not: the same words, whatever their case and punctuation."""
        return float(words(generated) in [words(answer) for answer in (example.answer, *example.others)])


def words(text: str) -> list[str]:
    """What of an answer is compared."""
    return re.findall(r"\w+", text.lower())
