"""Kinds of scenes that differ in one thing each: how much is foreground, how cluttered the ground, how rare.

What else could tell is held: things are as large, none is there twice, and where grounds differ nobody asks
for their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np

from wordsight.synthetic.scenes import (
    CLASSES,
    EMOJI_NOUNS,
    GRID,
    SIZE,
    SPLITS,
    TEXTURES,
    Array,
    Box,
    Ground,
    Scene,
    compose,
    draw_background,
    draw_texture,
    render,
)
from wordsight.tasks.scenes import Scenes

CELL = SIZE // 3
LARGE = (72, 80)  # pixels; neighbors overlap by some
CAST = 3  # things of a scene whose ground is what differs
SEEDS = {**SPLITS, "test": 4_000_000}  # a test split of the verdict's own, which no table and no gate reads
Draw = Callable[[int], Scene]  # the scene of a seed


def foreground(cells: int, seed: int) -> Scene:
    """So many of nine cells hold a thing that fills it: a tenth of all tokens each, nine of them .83."""
    rng = np.random.default_rng([seed, 29, cells])
    free = rng.permutation(9).tolist()

    def place(_: np.random.Generator, size: tuple[int, int], taken: list[Box]) -> Box:
        row, column = divmod(free[len(taken)], 3)
        left, top = (at * (SIZE - long) // 2 for at, long in zip((column, row), size, strict=True))
        return left, top, left + size[0], top + size[1]

    cast = rng.permutation(EMOJI_NOUNS)[:cells].tolist()
    return compose(rng, draw_background(rng), cast, LARGE, place)


def clutter(textures: int, seed: int) -> Scene:
    """A ground of one texture, or of nine, one behind every cell."""
    rng = np.random.default_rng([seed, 31, textures])
    names = rng.choice(list(TEXTURES), textures)
    pixels = draw_texture(rng, names[0])
    for cell, name in enumerate(names):
        rows, columns = (slice(at * CELL, (at + 1) * CELL) for at in divmod(cell, 3))
        if cell:
            pixels[rows, columns] = draw_texture(rng, name)[rows, columns]
    return _with_cast(rng, pixels)


def strange(every: int, seed: int) -> Scene:
    """A texture in the colors of none: in one of so many training scenes, and in all others."""
    rng = np.random.default_rng([seed, 37, every])
    pixels = draw_texture(rng, str(rng.choice(list(TEXTURES))))
    is_ordinary = seed < SPLITS["validation"] and seed % every
    return _with_cast(rng, pixels if is_ordinary else pixels[..., [1, 2, 0]].copy())


def _with_cast(rng: np.random.Generator, pixels: Array) -> Scene:
    ground: Ground = pixels, np.full((GRID, GRID), CLASSES.index("plain"), np.int16), ()
    return compose(rng, ground, rng.permutation(EMOJI_NOUNS)[:CAST].tolist())


KINDS: dict[str, Draw] = {
    "all": render,
    **{f"foreground {10 * cells}": partial(foreground, cells) for cells in (1, 3, 6, 9)},
    **{f"clutter {textures}": partial(clutter, textures) for textures in (1, 9)},
    "strange ground, rare": partial(strange, 20),
    "strange ground, common": partial(strange, 1),
}


@dataclass(kw_only=True)
class Drawn(Scenes):
    """Scenes of a kind, with the questions of all scenes."""

    SEEDS: ClassVar[Mapping[str, int]] = SEEDS
    draw: Draw = field(default=render, repr=False)

    def scene(self, seed: int) -> Scene:
        return self.draw(seed)
