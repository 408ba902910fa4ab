"""Odd one out: three rendered pictures in one prompt; which of them lacks a thing that the two others show.

Three things are asked about in each prompt, and every picture lacks one of them, so that the pictures alone
do not tell the answer and each answer is right as often. All three show as many things, no two alike. The
embedded model is not trained on such questions; they are for models of one's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Interval

from wordsight.synthetic.questions import ORDINALS
from wordsight.synthetic.scenes import EMOJI_NOUNS, Scene, compose, draw_background
from wordsight.tasks.base import Example
from wordsight.tasks.rendered import RenderedTask

MOST_OTHERS = 2  # things of a picture that are not asked about


@dataclass(kw_only=True)
class OddOneOut(RenderedTask):
    """prompts: how many times three pictures to ask about, three questions each. Type: odd."""

    prompts: Annotated[int, Interval(ge=1, le=100_000)] = 200

    def examples(self) -> Iterator[Example]:
        for number in range(self.prompts):
            rng = np.random.default_rng([self.first_seed + number, 19])
            scenes, lacking = draw_three(rng)
            images = [scene.image for scene in scenes]
            for i in rng.permutation(len(images)):
                text, answer = f"which picture has no {lacking[i]}?", ORDINALS[i]
                yield Example(images, str(number), text, answer, "odd", _alike(answer, i + 1))


def draw_three(rng: np.random.Generator) -> tuple[list[Scene], list[str]]:
    """Three scenes and three nouns: the first scene lacks the first noun and has the others, and so on."""
    nouns = rng.permutation(EMOJI_NOUNS).tolist()
    asked, others = nouns[: len(ORDINALS)], nouns[len(ORDINALS) :]
    more = int(rng.integers(MOST_OTHERS + 1))
    scenes = []
    for lacking in asked:
        cast = [noun for noun in asked if noun != lacking] + rng.choice(others, more, replace=False).tolist()
        scenes.append(_with_all(rng, rng.permutation(cast).tolist()))
    return scenes, asked


def _with_all(rng: np.random.Generator, cast: list[str]) -> Scene:
    """A scene in which the whole cast has found room."""
    while True:
        scene = compose(rng, draw_background(rng), cast)
        if len(scene.things) == len(cast):
            return scene


def _alike(ordinal: str, number: int) -> tuple[str, ...]:
    """Other words for a picture of the prompt: "the second", "second picture", "2", "picture 2"."""
    counted = [f"{the}{ordinal}{it}" for the in ("", "the ") for it in ("", " one", " picture", " image")]
    return *counted[1:], f"{number}", f"picture {number}", f"image {number}"
