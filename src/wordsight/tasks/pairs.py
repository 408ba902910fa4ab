"""Pairs: two or three rendered pictures in one prompt; which of them shows a thing, and whether all do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wordsight.demo.questions import ask_about_pictures
from wordsight.demo.scenes import SPLITS, Scene, render
from wordsight.errors import UsageError
from wordsight.tasks.base import Example, Task

APART = 10_000  # prompts: how far the scenes of pairs lie from those of the task `scenes`
TRIES = 40


@dataclass(kw_only=True)
class Pairs(Task):
    """prompts: how many pairs and triples of pictures to ask about. Types: which, same."""

    prompts: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.prompts <= APART:
            raise UsageError(f"prompts must be between 1 and {APART}, got {self.prompts}")

    def examples(self) -> Iterator[Example]:
        for number in range(self.prompts):
            scenes = _several(SPLITS[self.split] + (1 + number) * APART)
            images = [scene.image for scene in scenes]
            for question in ask_about_pictures(scenes, number):
                yield Example(images, str(number), question.text, question.answer, question.type)


def _several(seed: int) -> list[Scene]:
    """Two or three scenes; in half of the prompts the first thing of the first is in all of them."""
    rng = np.random.default_rng(seed)
    count, shared = (2 if rng.random() < 0.65 else 3), rng.random() < 0.5
    scenes = [render(seed)]
    for i in range(TRIES):
        scene = render(seed + 1 + i)
        wanted = not shared or scenes[0].things[0].noun in {thing.noun for thing in scene.things}
        if wanted or TRIES - i < count:
            scenes.append(scene)
        if len(scenes) == count:
            break
    return scenes
