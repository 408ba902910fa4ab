"""Pairs: two or three rendered pictures in one prompt; which of them shows a thing, and whether all do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Annotated

import numpy as np
from annotated_types import Interval

from wordsight.synthetic.questions import ask_about_pictures
from wordsight.synthetic.scenes import Scene, render
from wordsight.tasks.base import Example
from wordsight.tasks.rendered import RenderedTask

FIRST, ROOM = 100_000, 256  # where the scenes of a split begin that pairs draw from, and how many each has


@dataclass(kw_only=True)
class Pairs(RenderedTask):
    """prompts: how many pairs and triples of pictures to ask about. Types: which, same."""

    prompts: Annotated[int, Interval(ge=1, le=3000)] = 200

    def examples(self) -> Iterator[Example]:
        for number in range(self.prompts):
            scenes = _several(self.first_seed + FIRST + number * ROOM)
            images = [scene.image for scene in scenes]
            for question in ask_about_pictures(scenes, number):
                yield Example(images, str(number), question.text, question.answer, question.type)


def _several(seed: int) -> list[Scene]:
    """Two or three scenes; in half of the prompts the first thing of the first is in all of them."""
    rng = np.random.default_rng([seed, 17])
    count, shared = (2 if rng.random() < 0.65 else 3), rng.random() < 0.5
    first = render(seed)
    others = (render(seed + i) for i in range(1, ROOM))
    if shared:
        noun = first.things[0].noun
        others = (scene for scene in others if noun in {thing.noun for thing in scene.things})
    return [first, *islice(others, count - 1)]
