"""Scenes: rendered pictures of emoji and shapes, with seven types of questions.

Existence with hard negatives, counting, naming at a place, location, relation, color, background.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wordsight.errors import UsageError
from wordsight.synthetic.questions import ask
from wordsight.synthetic.scenes import SPLITS, render
from wordsight.tasks.base import Example, Task


@dataclass(kw_only=True)
class Scenes(Task):
    """pictures: how many scenes of the split to ask about, about twelve questions each."""

    pictures: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.pictures <= 100_000:
            raise UsageError(f"pictures must be between 1 and 100000, got {self.pictures}")

    def examples(self) -> Iterator[Example]:
        for number in range(self.pictures):
            seed = SPLITS[self.split] + number
            scene = render(seed)
            for question in ask(scene, seed):
                if question.type != "caption":
                    yield Example(scene.image, str(number), question.text, question.answer, question.type)
