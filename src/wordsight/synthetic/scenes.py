"""Procedural scenes: emoji and colored shapes on textured backgrounds, every patch labeled, drawn from one
seed.

The emoji are Noto Emoji (Apache-2.0), 64-pixel PNGs taken from npm `emoji-datasource-google` 16.0.0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wordsight._utils.files import replacing

SIZE, PATCH = 192, 16
GRID = SIZE // PATCH
# First seed of each split; "old_test" was the test split until tables, gates and protocols had read it.
SPLITS = {"train": 0, "validation": 1_000_000, "old_test": 2_000_000, "test": 3_000_000}

EMOJI = {
    "animal": "cat dog rabbit fox bear panda lion cow pig frog monkey penguin owl bee butterfly turtle fish "
    "elephant",
    "food": "apple banana grape strawberry watermelon pizza hamburger cake donut",
    "vehicle": "car bus bicycle airplane rocket boat train",
    "thing": "house clock umbrella tree flower guitar key book",
}
SHAPES = ("circle", "rectangle", "triangle", "star")
COLORS = {
    "red": (245, 15, 15),
    "green": (15, 225, 25),
    "blue": (15, 25, 245),
    "yellow": (250, 240, 20),
    "black": (10, 10, 10),
    "gray": (128, 128, 128),
    "teal": (5, 128, 128),
    "brown": (160, 45, 40),
}
TEXTURES = {
    "grass": ((40, 110, 30), (120, 190, 70)),
    "sky": ((110, 170, 235), (240, 248, 255)),
    "water": ((10, 60, 120), (60, 150, 190)),
    "sand": ((190, 160, 100), (240, 220, 170)),
    "brick": ((130, 50, 40), (190, 90, 70)),
    "wood": ((100, 60, 30), (180, 125, 75)),
    "snow": ((205, 215, 230), (255, 255, 255)),
    "night": ((5, 5, 25), (45, 30, 80)),
}
UPPER, LOWER = ("sky", "night", "brick", "wood"), ("grass", "water", "sand", "snow")
CATEGORIES = {name: tuple(words.split()) for name, words in EMOJI.items()} | {"shape": SHAPES}
NOUNS = tuple(word for words in CATEGORIES.values() for word in words)
EMOJI_NOUNS = [noun for noun in NOUNS if noun not in SHAPES]
# Every label a patch can have: emoji, shape and color together, named background, plain (no name).
CLASSES = (
    *(word for words in EMOJI.values() for word in words.split()),
    *(f"{color} {shape}" for shape in SHAPES for color in COLORS),
    *TEXTURES,
    "plain",
)
OBJECT_CLASSES = len(CLASSES) - len(TEXTURES) - 1

Array = NDArray[Any]
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels
Ground = tuple[Array, Array, tuple[str, ...]]  # pixels, labels and names, as of draw_background
Place = Callable[[np.random.Generator, tuple[int, int], list[Box]], Box | None]  # as free_box


@dataclass(frozen=True)
class Thing:
    """One object of a scene: its noun, its color if it is a shape, its box in pixels (left, top, right,
    bottom).
    """

    noun: str
    color: str | None
    box: Box

    @property
    def label(self) -> str:
        return f"{self.color} {self.noun}" if self.color else self.noun

    @property
    def center(self) -> tuple[float, float]:
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


@dataclass(frozen=True)
class Scene:
    """A picture and everything that is true of it.

    `labels` (12, 12) indexes CLASSES, -1 where an object covers too little of the patch to say;
    `owner` (12, 12) is the index of the thing that covers the patch, -1 where none does.
    """

    image: Image.Image
    things: tuple[Thing, ...]
    backgrounds: tuple[str, ...]
    labels: Array
    owner: Array


def render(seed: int) -> Scene:
    """The scene of this seed; the same seed always draws the same scene."""
    rng = np.random.default_rng(seed)
    return compose(rng, draw_background(rng), _cast(rng))


def compose(
    rng: np.random.Generator,
    ground: Ground,
    cast: list[str],
    sizes: tuple[float, float] = (28, 62),
    place: Place | None = None,
) -> Scene:
    """The scene of this ground, painted over, with a thing for every label of the cast that finds room, of
    which `sizes` are the least and most of its longer side in pixels, and `place` is `free_box` by default.
    """
    pixels, labels, backgrounds = ground
    owner = np.full((GRID, GRID), -1, np.int16)
    things: list[Thing] = []
    for label in cast:
        sprite = draw_sprite(rng, label, rng.uniform(*sizes))
        box = (place or free_box)(rng, (sprite.shape[1], sprite.shape[0]), [thing.box for thing in things])
        if box is None:
            continue
        covered = paste(pixels, tint(rng, sprite), box)
        labels[(covered > 0.08) & (covered <= 0.3)] = -1
        for where in (covered > 0.3, np.unravel_index(covered.argmax(), covered.shape)):
            labels[where], owner[where] = CLASSES.index(label), len(things)
        color, _, noun = label.rpartition(" ")
        things.append(Thing(noun, color or None, box))
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return Scene(image, tuple(things), backgrounds, labels, owner)


def _cast(rng: np.random.Generator) -> list[str]:
    """Which objects to place: one to six, often several of one kind so that there is something to count."""
    emoji, shapes = CLASSES[: OBJECT_CLASSES - 32], CLASSES[OBJECT_CLASSES - 32 : OBJECT_CLASSES]
    count, repeats = int(rng.integers(1, 7)), 1
    if rng.random() < 0.5:
        repeats = int(rng.integers(2, 6))
        count = int(rng.integers(repeats, 7))
    cast = [str(rng.choice(emoji if rng.random() < 0.72 else shapes)) for _ in range(count)]
    return [cast[0]] * repeats + cast[repeats:]


def free_box(rng: np.random.Generator, size: tuple[int, int], taken: list[Box]) -> Box | None:
    """A box of `size` (width, height) at least four pixels from all taken ones, or None after forty tries."""
    width, height = size
    for _ in range(40):
        left, top = int(rng.integers(0, SIZE - width + 1)), int(rng.integers(0, SIZE - height + 1))
        box = (left, top, left + width, top + height)
        if all(_gap(box, other) >= 4 for other in taken):
            return box
    return None


def _gap(a: Box, b: Box) -> int:
    return max(max(a[0], b[0]) - min(a[2], b[2]), max(a[1], b[1]) - min(a[3], b[3]))


def tint(rng: np.random.Generator, sprite: Array) -> Array:
    """The sprite a little brighter or darker and off its colors; its alpha stays."""
    tinted = sprite[..., :3] * rng.uniform(0.9, 1.08) + rng.uniform(-8, 8, 3)
    return np.concatenate([tinted, sprite[..., 3:]], -1, dtype=np.float32)


def paste(pixels: Array, sprite: Array, box: Box) -> Array:
    """Draw the sprite over the pixels; the share of every patch (12, 12) that it covers."""
    left, top, right, bottom = box
    alpha = sprite[..., 3:] / 255
    pixels[top:bottom, left:right] = pixels[top:bottom, left:right] * (1 - alpha) + sprite[..., :3] * alpha
    cover = np.zeros((SIZE, SIZE), np.float32)
    cover[top:bottom, left:right] = alpha[..., 0]
    shares: Array = cover.reshape(GRID, PATCH, GRID, PATCH).mean((1, 3))
    return shares


def draw_sprite(rng: np.random.Generator, label: str, size: float) -> Array:
    """The object of a label as RGBA pixels, its longer side `size` long."""
    color, _, noun = label.rpartition(" ")
    picture = _shape(rng, noun, color) if color else _emoji(noun)
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if not color and rng.random() < 0.3:
        picture = picture.rotate(rng.uniform(-12, 12), Image.Resampling.BILINEAR)
    scale = size / max(picture.size)
    resized = picture.resize(
        (max(12, round(picture.width * scale)), max(12, round(picture.height * scale))),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(resized, np.float32)


@cache
def _emoji(noun: str) -> Image.Image:
    with (files("wordsight.synthetic") / "sprites" / f"{noun}.png").open("rb") as file:
        return Image.open(file).convert("RGBA")


def _shape(rng: np.random.Generator, noun: str, color: str) -> Image.Image:
    red, green, blue = (int(np.clip(c + rng.integers(-12, 13), 0, 255)) for c in COLORS[color])
    fill = (red, green, blue, 255)
    width, height = (96, int(rng.integers(40, 97))) if noun == "rectangle" else (96, 96)
    picture = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(picture)
    if noun == "circle":
        draw.ellipse((0, 0, 95, 95), fill=fill)
    elif noun == "rectangle":
        draw.rectangle((0, 0, width, height), fill=fill)
    elif noun == "triangle":
        draw.polygon([(48, 2), (95, 90), (1, 90)], fill=fill)
    else:
        radii = [47 if i % 2 == 0 else 20 for i in range(10)]
        turn = [i * math.pi / 5 for i in range(10)]
        draw.polygon(
            [(48 + r * math.sin(t), 48 - r * math.cos(t)) for r, t in zip(radii, turn, strict=True)],
            fill=fill,
        )
    return picture.rotate(90, expand=True) if rng.random() < 0.5 and noun == "rectangle" else picture


def draw_background(rng: np.random.Generator) -> Ground:
    """Pixels (192, 192, 3), labels (12, 12) and the names of what can be seen behind the objects."""
    kind = rng.random()
    labels = np.full((GRID, GRID), len(CLASSES) - 1, np.int16)
    if kind < 0.3:
        return _plain(rng), labels, ()
    if kind < 0.65:
        name = str(rng.choice(list(TEXTURES)))
        labels[:] = CLASSES.index(name)
        return draw_texture(rng, name), labels, (name,)
    upper, lower = str(rng.choice(UPPER)), str(rng.choice(LOWER))
    horizon = int(rng.integers(4, 9))
    pixels = draw_texture(rng, upper)
    pixels[horizon * PATCH :] = draw_texture(rng, lower)[horizon * PATCH :]
    labels[:horizon], labels[horizon:] = CLASSES.index(upper), CLASSES.index(lower)
    return pixels, labels, (upper, lower)


def _cloud(rng: np.random.Generator) -> Array:
    """Smooth noise in [0, 1]: a few octaves of random grids, enlarged and added."""
    total, weight = np.zeros((SIZE, SIZE), np.float32), 1.0
    for cells in (int(rng.integers(3, 6)), 9, 24, 64):
        grid = Image.fromarray(rng.random((cells, cells), np.float32))
        total += weight * np.asarray(grid.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        weight *= rng.uniform(0.45, 0.8)
    scaled: Array = (total - total.min()) / np.ptp(total)
    return scaled


def _plain(rng: np.random.Generator) -> Array:
    first, last = rng.integers(0, 256, (2, 3)).astype(np.float32)
    kind = rng.random()
    if kind < 0.35:
        pale = rng.integers(225, 256, 3).astype(np.float32)
        return np.broadcast_to(pale, (SIZE, SIZE, 3)).copy()
    if kind < 0.6:
        return np.broadcast_to(first, (SIZE, SIZE, 3)).copy()
    angle = rng.uniform(0, 2 * math.pi)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    slope = math.cos(angle) * columns + math.sin(angle) * rows
    blend = (slope - slope.min()) / np.ptp(slope) if kind < 0.8 else _cloud(rng)
    mixed: Array = first + (last - first) * blend[..., None]
    return mixed


def draw_texture(rng: np.random.Generator, name: str) -> Array:
    """Pixels (192, 192, 3) of a background that has a name, each time another."""
    dark, light = (np.array(c, np.float32) + rng.integers(-15, 16, 3) for c in TEXTURES[name])
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    cloud = blend = _cloud(rng)
    if name == "water":
        blend = 0.6 * cloud + 0.4 * (0.5 + 0.5 * np.sin(rows * 2 * math.pi / rng.uniform(10, 26) + 6 * cloud))
    elif name == "wood":
        period = rng.uniform(18, 44)
        blend = 0.6 * (0.5 + 0.5 * np.sin((columns + 16 * cloud) * 4 * math.pi / period)) + 0.4 * cloud
        blend = np.where(columns % period < 2, -0.4, blend)
    elif name == "sky":
        blend = np.clip((cloud - 0.45) * 3, 0, 1) * 0.9 + 0.1 * rows / SIZE
    elif name in ("grass", "sand"):
        grain = rng.random((SIZE, SIZE), np.float32)
        blend = 0.65 * cloud + 0.35 * grain
    pixels = dark + (light - dark) * blend[..., None]
    if name == "brick":
        height = rng.uniform(12, 20)
        course = rows // height
        seam = (rows % height < 2) | ((columns + course % 2 * height) % (2 * height) < 2)
        pixels[seam] = 190 + rng.integers(-15, 15)
    if name == "night":
        row, column = rng.integers(0, SIZE, (2, int(rng.integers(30, 80))))
        pixels[row, column] = 255
    return np.asarray(pixels, np.float32)


def save_scenes(folder: str | Path, count: int, split: str = "train") -> list[Path]:
    """Write the first `count` scenes of a split, as SPLITS names them, into the folder as PNG files."""
    root = Path(folder)
    paths = [root / f"scene_{number:05d}.png" for number in range(count)]
    for number, path in enumerate(paths):
        with replacing(path) as draft:
            render(SPLITS[split] + number).image.save(draft)
    return paths
