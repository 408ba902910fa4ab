"""What the tower is shown: whole photos, crops, and collages of two to four photos in the corners."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageOps

from photos import Photo
from vision import SIDE

CELLS = 4  # corners of a collage, in reading order
REPEATED = 0.5  # how many collages show a thing twice
# Of every split; training's crops are balanced over names.
CROPS = {"train": 2000}
COLLAGES = {"train": 2400, "validation": 150, "test": 300}


@dataclass(frozen=True)
class View:
    """A picture made of photos, by their numbers: one of them, or those in the corners of a collage, None
    where a corner is empty. `seed` draws the crop.
    """

    kind: str  # "photo", "crop" or "collage"
    split: str
    photos: tuple[int | None, ...]
    seed: int = 0


def all_views(photos: Sequence[Photo]) -> dict[str, list[View]]:
    """Views by kind and split. A longer list begins with the shorter one, so that caches can grow."""
    found = {"photos": [View("photo", photo.split, (number,)) for number, photo in enumerate(photos)]}
    for split, count in COLLAGES.items():
        found[f"collages-{split}"] = draw_collages(photos, split, count)
    for split, count in CROPS.items():
        found[f"crops-{split}"] = draw_crops(photos, split, count)
    return found


def draw_crops(photos: Sequence[Photo], split: str, count: int) -> list[View]:
    """Crops of named photos, all names alike often."""
    rng, by_name = random.Random(f"crops {split}"), _by_name(photos, split)
    names = sorted(by_name)
    return [View("crop", split, (rng.choice(by_name[rng.choice(names)]),), seed) for seed in range(count)]


def draw_collages(photos: Sequence[Photo], split: str, count: int) -> list[View]:
    """Collages of two to four known photos of a split."""
    rng, by_name = random.Random(f"collages {split}"), _by_name(photos, split)
    return [View("collage", split, _corners(by_name, rng), seed) for seed in range(count)]


def _by_name(photos: Sequence[Photo], split: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for number, photo in enumerate(photos):
        if photo.known and photo.name and photo.split == split:
            found.setdefault(photo.name, []).append(number)
    return found


def _corners(by_name: dict[str, list[int]], rng: random.Random) -> tuple[int | None, ...]:
    count = rng.randint(2, CELLS)
    names = rng.sample(sorted(by_name), count)
    if rng.random() < REPEATED:
        times = rng.randint(2, count)
        names[:times] = [names[0]] * times
    shown: list[int | None] = [rng.choice(by_name[name]) for name in names]
    corners = shown + [None] * (CELLS - len(shown))
    rng.shuffle(corners)
    return tuple(corners)


def render(view: View, photos: Sequence[Photo]) -> Image.Image:
    """The picture of a view, 224x224 for what is cut or put together."""
    images = [None if number is None else _open(photos[number]) for number in view.photos]
    if view.kind == "photo":
        return images[0]
    if view.kind == "crop":
        return crop(images[0], random.Random(view.seed))
    return collage(images, random.Random(view.seed))


def _open(photo: Photo) -> Image.Image:
    with Image.open(photo.path) as image:
        return image.convert("RGB")


def crop(image: Image.Image, rng: random.Random) -> Image.Image:
    """A part of at least half the picture's area, mirrored half of the time."""
    across, down = (image.size[axis] * rng.uniform(0.71, 1.0) for axis in (0, 1))
    left, top = rng.uniform(0, image.width - across), rng.uniform(0, image.height - down)
    box = left, top, left + across, top + down
    cut = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
    return ImageOps.mirror(cut) if rng.random() < 0.5 else cut


def collage(images: Sequence[Image.Image | None], rng: random.Random) -> Image.Image:
    """Photos squeezed into the four corners of a plain ground."""
    canvas = Image.new("RGB", (SIDE, SIDE), tuple(rng.randrange(256) for _ in range(3)))
    half = SIDE // 2
    for corner, image in enumerate(images):
        if image is not None:
            cell = image.resize((half, half), Image.Resampling.BICUBIC)
            canvas.paste(cell, (corner % 2 * half, corner // 2 * half))
    return canvas
