"""Small pictures: squares of 7x7 patches, cut out of the pixels of scenes where no thing is cut.

The tower sees nothing but such a square, at interpolated positions: it is a whole picture of 49 tokens, not
some of the tokens of a larger one. What is slow to learn is learned in short prompts first (README.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wordsight.synthetic.scenes import CLASSES, GRID, PATCH, Array, Box, Scene

SPAN = 7  # patches
TRIES = 40


@dataclass(frozen=True)
class Squares:
    """(number of the scene, row, column) of each square, and the scenes' pictures, which are sliced alike."""

    corners: Array
    images: Array

    def __len__(self) -> int:
        return len(self.corners)

    def __getitem__(self, part: slice) -> Array:
        """Pixels (P, 112, 112, 3)."""
        side = SPAN * PATCH
        cut = [
            self.images[number, y * PATCH : y * PATCH + side, x * PATCH : x * PATCH + side]
            for number, y, x in self.corners[part]
        ]
        return np.stack(cut)


def corners_of(facts: Sequence[Scene]) -> Array:
    """(S, 3) the scene, row and column of squares with things: of many tries the one with the most of them,
    for every scene that has one.
    """
    found = [
        (number, *corner)
        for number, fact in enumerate(facts)
        if (corner := _corner(fact, number)) is not None
    ]
    return np.array(found, int).reshape(-1, 3)


def _corner(fact: Scene, seed: int) -> tuple[int, int] | None:
    rng = np.random.default_rng([seed, 17])
    best, most = None, 0
    for y, x in rng.integers(0, GRID - SPAN + 1, (TRIES, 2)).tolist():
        inside = [_inside(thing.box, y, x) for thing in fact.things]
        if None not in inside and sum(inside) > most:
            best, most = (y, x), sum(inside)
    return best


def _inside(box: Box, y: int, x: int) -> bool | None:
    """Whether a box is in the square, None where its border cuts the box."""
    left, top, right, bottom = x * PATCH, y * PATCH, (x + SPAN) * PATCH, (y + SPAN) * PATCH
    if left <= box[0] and top <= box[1] and box[2] <= right and box[3] <= bottom:
        return True
    outside = box[2] <= left or box[0] >= right or box[3] <= top or box[1] >= bottom
    return False if outside else None


def cut(grids: Array, corners: Array) -> Array:
    """(S, 49, ...) the patches in the squares, of grids (P, 12, 12, ...)."""
    parts = [grids[number, y : y + SPAN, x : x + SPAN] for number, y, x in corners]
    return np.stack(parts).reshape(len(corners), SPAN * SPAN, *grids.shape[3:])


def small_scene(fact: Scene, corner: tuple[int, int], labels: Array, owners: Array) -> tuple[Scene, Array]:
    """What is true of a square with these labels and owners (49,), in pixels of a picture enlarged to the
    usual size; and its owners, numbered as its own things are.
    """
    y, x = corner
    inside = [i for i, thing in enumerate(fact.things) if _inside(thing.box, y, x)]
    start = np.array([x, y, x, y]) * PATCH
    boxes = [(np.array(fact.things[i].box) - start) * GRID // SPAN for i in inside]
    things = tuple(
        replace(fact.things[i], box=tuple(box.tolist())) for i, box in zip(inside, boxes, strict=True)
    )
    names = tuple(name for name in fact.backgrounds if (labels == CLASSES.index(name)).any())
    numbered = np.full(len(fact.things) + 1, -1, owners.dtype)  # the last one is of no thing, -1
    numbered[inside] = range(len(inside))
    return replace(fact, things=things, backgrounds=names), numbered[owners]
