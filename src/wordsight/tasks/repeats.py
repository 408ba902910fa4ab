"""Repeats: eight rendered frames in which three things come and go; how many times each of them does.

One comes once, one twice and one three times, all are seen in as many frames, and none in the first or the
last: neither what changes nor how often a thing is seen tells the answer. The frames are given as so many
images, in order. The embedded model is not trained on such questions; they are for models of one's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Annotated

import numpy as np
from annotated_types import Interval

from wordsight.synthetic.clips import Clip, Track, film
from wordsight.synthetic.questions import NUMBERS
from wordsight.synthetic.scenes import EMOJI_NOUNS, Box, draw_background, draw_sprite, free_box, tint
from wordsight.tasks.base import Example
from wordsight.tasks.rendered import RenderedTask

TIMES = {1: "once", 2: "twice", 3: "thrice"}
COUNT = 8  # frames; with fewer, one or two of them tell too much
SEEN = (3, 4)  # fewest and most frames that show a thing


@dataclass(kw_only=True)
class Repeats(RenderedTask):
    """clips: how many clips of the split to ask about, three questions each. Type: times."""

    clips: Annotated[int, Interval(ge=1, le=100_000)] = 200

    def examples(self) -> Iterator[Example]:
        for number in range(self.clips):
            rng = np.random.default_rng([self.first_seed + number, 23])
            clip = come_and_go(rng)
            for i in rng.permutation(len(clip.tracks)):
                track = clip.tracks[i]
                times = comings(track.boxes)
                text = f"these are the frames of a video: how many times does the {track.noun} appear?"
                unit = "time" if times == 1 else "times"
                others = (f"{times}", TIMES[times], f"{NUMBERS[times]} {unit}", f"{times} {unit}")
                yield Example(clip.frames, str(number), text, NUMBERS[times], "times", others)


def come_and_go(rng: np.random.Generator) -> Clip:
    """A clip of three things: the first comes once, the second twice, the third three times."""
    background = draw_background(rng)[0]
    nouns = rng.permutation(EMOJI_NOUNS)[: len(TIMES)].tolist()
    sprites = [tint(rng, draw_sprite(rng, noun, rng.uniform(30, 52))) for noun in nouns]
    places = _places(rng, [(sprite.shape[1], sprite.shape[0]) for sprite in sprites])
    count_visible = int(rng.integers(SEEN[0], SEEN[1] + 1))
    tracks = []
    for times, noun, place in zip(TIMES, nouns, places, strict=True):
        patterns = [frames for frames in _patterns(count_visible) if comings(frames) == times]
        boxes = tuple(place if here else None for here in patterns[rng.integers(len(patterns))])
        tracks.append(Track(noun, "repeat", boxes))
    return film(background, tracks, sprites, count=COUNT)


def comings(frames: tuple[Box | bool | None, ...]) -> int:
    """How many times a thing appears that is seen where `frames` is true, and not in the first."""
    return sum(not before and bool(after) for before, after in pairwise(frames))


def _patterns(count_visible: int) -> list[tuple[bool, ...]]:
    """Every way to be seen in so many frames, but not in the first or the last."""
    inner = product((False, True), repeat=COUNT - 2)
    return [(False, *frames, False) for frames in inner if sum(frames) == count_visible]


def _places(rng: np.random.Generator, sizes: list[tuple[int, int]]) -> list[Box]:
    """Boxes of these sizes (width, height) that lie apart, begun anew until all have found room."""
    boxes: list[Box] = []
    while len(boxes) < len(sizes):
        box = free_box(rng, sizes[len(boxes)], boxes)
        boxes = [*boxes, box] if box else []
    return boxes
