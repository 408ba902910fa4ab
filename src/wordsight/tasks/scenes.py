"""Scenes: rendered pictures of emoji and shapes, with seven types of questions.

Existence with hard negatives, counting, naming at a place, location, relation, color, background.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Interval

from wordsight.synthetic.questions import ask
from wordsight.synthetic.scenes import SPLITS, Scene, render
from wordsight.tasks.base import Example, Task


@dataclass(kw_only=True)
class Scenes(Task):
    """pictures: how many scenes of the split to ask about, about twelve questions each."""

    SEEDS: ClassVar[Mapping[str, int]] = SPLITS  # the first of each split
    pictures: Annotated[int, Interval(ge=1, le=100_000)] = 200

    def examples(self) -> Iterator[Example]:
        for number in range(self.pictures):
            seed = self.SEEDS[self.split] + number
            scene = self.scene(seed)
            for question in ask(scene, seed):
                if question.type != "caption":
                    yield Example(scene.image, str(number), question.text, question.answer, question.type)

    def scene(self, seed: int) -> Scene:
        """The scene of a seed, which a task of other scenes draws another way."""
        return render(seed)
