"""Procedural clips: a few frames of things that move, appear, vanish or stay, drawn from one seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from wordsight.synthetic.scenes import (
    CLASSES,
    GRID,
    OBJECT_CLASSES,
    SIZE,
    Array,
    Box,
    draw_background,
    draw_sprite,
    free_box,
    paste,
    tint,
)

FRAMES = (4, 8)  # fewest and most
# (columns, rows) that a thing moves along.
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


@dataclass(frozen=True)
class Track:
    """One thing in a clip: what it is, what it does, and its box in every frame, None where it is not seen.

    act is "stay", "appear", "vanish", "repeat" (it comes and goes) or the direction it moves in.
    """

    noun: str
    act: str
    boxes: tuple[Box | None, ...]

    @property
    def first(self) -> int:
        """The first frame that shows it."""
        return next(i for i, box in enumerate(self.boxes) if box)


@dataclass(frozen=True)
class Clip:
    """Frames in order, the tracks of their things, and which track covers each patch (frames, 12, 12), -1
    where none does.
    """

    frames: tuple[Image.Image, ...]
    tracks: tuple[Track, ...]
    owner: Array


def render_clip(seed: int) -> Clip:
    """The clip of this seed; the same seed always draws the same clip."""
    rng = np.random.default_rng([seed, 5])
    count = int(rng.integers(FRAMES[0], FRAMES[1] + 1))
    background = draw_background(rng)[0]
    tracks: list[Track] = []
    sprites: list[Array] = []
    taken: list[Box] = []
    for label, act in zip(rng.permutation(CLASSES[:OBJECT_CLASSES]), _acts(rng), strict=False):
        noun = str(label).rpartition(" ")[2]
        sprite = tint(rng, draw_sprite(rng, str(label), rng.uniform(30, 52)))
        placed = _place(rng, sprite, act, count, taken)
        if placed and noun not in {track.noun for track in tracks}:
            room, boxes = placed
            tracks.append(Track(noun, act, boxes))
            sprites.append(sprite)
            taken.append(room)
    return film(background, tracks, sprites, count=count)


def film(background: Array, tracks: Sequence[Track], sprites: Sequence[Array], *, count: int) -> Clip:
    """The clip of `count` frames that shows the sprite of each track, RGBA pixels, in its boxes."""
    owner = np.full((count, GRID, GRID), -1, np.int16)
    frames = []
    for i in range(count):
        pixels = background.copy()
        for number, (track, sprite) in enumerate(zip(tracks, sprites, strict=True)):
            if box := track.boxes[i]:
                covered = paste(pixels, sprite, box)
                owner[i][covered > 0.3] = number
                owner[i][np.unravel_index(covered.argmax(), covered.shape)] = number
        frames.append(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)))
    return Clip(tuple(frames), tuple(tracks), owner)


def _acts(rng: np.random.Generator) -> list[str]:
    """What one to three things do; two that appear come together, so that there is an order to tell."""
    kind = rng.random()
    acts = ["appear", "appear"] if kind < 0.4 else ["vanish"] if kind < 0.7 else []
    wanted = int(rng.integers(len(acts) or 1, 4))
    return [*acts, *(str(act) for act in rng.choice(["stay", *DIRECTIONS, *DIRECTIONS], wanted - len(acts)))]


def _place(
    rng: np.random.Generator, sprite: Array, act: str, count: int, taken: list[Box]
) -> tuple[Box, tuple[Box | None, ...]] | None:
    """A free room for everything the thing does, and its box in every frame."""
    height, width = sprite.shape[:2]
    along, down = DIRECTIONS.get(act, (0, 0))
    far = int(rng.integers(64, SIZE - max(width, height) - 8))
    room = free_box(rng, (width + far * abs(along), height + far * abs(down)), taken)
    if room is None:
        return None
    left = room[0] if along >= 0 else room[0] + far
    top = room[1] if down >= 0 else room[1] + far
    boxes: list[Box | None] = []
    for i in range(count):
        x, y = (value + round(step * far * i / (count - 1)) for value, step in ((left, along), (top, down)))
        boxes.append((x, y, x + width, y + height))
    change = int(rng.integers(1, count))
    if act == "appear":
        boxes[:change] = [None] * change
    elif act == "vanish":
        boxes[change:] = [None] * (count - change)
    return room, tuple(boxes)
