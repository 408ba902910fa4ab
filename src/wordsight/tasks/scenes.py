"""Scenes: rendered pictures of emoji and shapes, with seven types of questions.

Existence with hard negatives, counting, naming at a place, location, relation, color, background.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from wordsight.synthetic.questions import ask
from wordsight.synthetic.scenes import Scene, render
from wordsight.tasks.base import Example
from wordsight.tasks.rendered import RenderedTask


@dataclass(kw_only=True)
class Scenes(RenderedTask):
    """pictures: how many scenes of the split to ask about, about twelve questions each."""

    pictures: Annotated[int, Interval(ge=1, le=100_000)] = 200

    def examples(self) -> Iterator[Example]:
        for number in range(self.pictures):
            seed = self.first_seed + number
            scene = self.scene(seed)
            for question in ask(scene, seed):
                if question.type != "caption":
                    yield Example(scene.image, str(number), question.text, question.answer, question.type)

    def scene(self, seed: int) -> Scene:
        """The scene of a seed, which a task of other scenes draws another way."""
        return render(seed)
