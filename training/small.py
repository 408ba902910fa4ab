"""Small pictures: squares of 6x6 patches or more, cut out of the pixels of scenes where no thing is cut.

The tower sees nothing but such a square, at interpolated positions: it is a whole picture of 36 tokens, not
some of the tokens of a larger one. What is slow to learn is learned in short prompts first (README.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wordsight.synthetic.scenes import CLASSES, GRID, PATCH, Array, Box, Scene

SPANS = 6, 8, 10  # patches on a side
TRIES = 40


@dataclass(frozen=True)
class Squares:
    """(number of the scene, row, column) of each square, the pictures of all scenes, and how many patches are
    on a side.
    """

    corners: Array
    images: Array
    span: int

    def __len__(self) -> int:
        return len(self.corners)

    def __getitem__(self, part: slice) -> Array:
        """Pixels (P, 16 * span, 16 * span, 3)."""
        side = self.span * PATCH
        cut = [
            self.images[number, y * PATCH : y * PATCH + side, x * PATCH : x * PATCH + side]
            for number, y, x in self.corners[part]
        ]
        return np.stack(cut)


def corners_of(facts: Sequence[Scene], span: int) -> Array:
    """(S, 3) the scene, row and column of squares with two things or more: of many tries the one with the
    most of them, for every scene that has one. Where only one thing is, nothing has to be looked up.
    """
    found = [
        (number, *corner)
        for number, fact in enumerate(facts)
        if (corner := _corner(fact, span, number)) is not None
    ]
    return np.array(found, int).reshape(-1, 3)


def _corner(fact: Scene, span: int, seed: int) -> tuple[int, int] | None:
    rng = np.random.default_rng([seed, span])
    best, most = None, 1
    for y, x in rng.integers(0, GRID - span + 1, (TRIES, 2)).tolist():
        inside = [_inside(thing.box, (y, x), span) for thing in fact.things]
        if None not in inside and sum(inside) > most:
            best, most = (y, x), sum(inside)
    return best


def _inside(box: Box, corner: tuple[int, int], span: int) -> bool | None:
    """Whether a box is in the square, None where its border cuts the box."""
    (top, left), side = (PATCH * place for place in corner), PATCH * span
    right, bottom = left + side, top + side
    if left <= box[0] and top <= box[1] and box[2] <= right and box[3] <= bottom:
        return True
    outside = box[2] <= left or box[0] >= right or box[3] <= top or box[1] >= bottom
    return False if outside else None


def cut(grids: Array, corners: Array, span: int) -> Array:
    """(S, span * span, ...) the patches in the squares, of grids (P, 12, 12, ...)."""
    parts = [grids[number, y : y + span, x : x + span] for number, y, x in corners]
    return np.stack(parts).reshape(len(corners), span * span, *grids.shape[3:])


def small_scene(fact: Scene, corner: tuple[int, int], labels: Array, owners: Array) -> tuple[Scene, Array]:
    """What is true of a square with these labels and owners (span * span,), in pixels of a picture enlarged
    to the usual size; and its owners, numbered as its own things are.
    """
    (y, x), span = corner, math.isqrt(len(labels))
    inside = [i for i, thing in enumerate(fact.things) if _inside(thing.box, corner, span)]
    start = np.array([x, y, x, y]) * PATCH
    boxes = [(np.array(fact.things[i].box) - start) * GRID // span for i in inside]
    things = tuple(
        replace(fact.things[i], box=tuple(box.tolist())) for i, box in zip(inside, boxes, strict=True)
    )
    names = tuple(name for name in fact.backgrounds if (labels == CLASSES.index(name)).any())
    numbered = np.full(len(fact.things) + 1, -1, owners.dtype)  # the last one is of no thing, -1
    numbered[inside] = range(len(inside))
    return replace(fact, things=things, backgrounds=names), numbered[owners]
