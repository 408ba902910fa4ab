"""Clips: four to eight rendered frames; which way a thing moves, whether it appears or vanishes, and in which
order things appear. The frames are given as so many images, in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wordsight.errors import UsageError
from wordsight.synthetic.clips import render_clip
from wordsight.synthetic.questions import ask_about_clip
from wordsight.synthetic.scenes import SPLITS
from wordsight.tasks.base import Example, Task


@dataclass(kw_only=True)
class Clips(Task):
    """clips: how many clips of the split to ask about. Types: direction, change, order."""

    clips: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.clips <= 100_000:
            raise UsageError(f"clips must be between 1 and 100000, got {self.clips}")

    def examples(self) -> Iterator[Example]:
        for number in range(self.clips):
            seed = SPLITS[self.split] + number
            clip = render_clip(seed)
            for question in ask_about_clip(clip, seed):
                yield Example(clip.frames, str(number), question.text, question.answer, question.type)
