"""Which photos there are, what they are called, and which split they belong to.

Any folder of class folders will do; Caltech-101 (CC BY 4.0) is what the recipe was made with.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from names import CLUTTER, name_of
from wheels import BUILD
from wordsight._utils.files import replacing

HELD = {"test": 10, "validation": 5}  # photos of every folder
MOST = 100  # photos of a folder to train on
UNKNOWN = 5  # classes of every split that the model is to say that it does not know
SPLITS = ("test", "validation", "train")
ENDINGS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Photo:
    """A photo. Its `name` is None where no class is shown; not `known` is what no training names."""

    path: str
    name: str | None
    known: bool
    split: str


def read_photos(root: Path) -> list[Photo]:
    """The photos of a folder of class folders, shuffled: any beginning is a fair sample. Kept in the build
    folder once read, so that splits stay.
    """
    kept = BUILD / "photos.json"
    if not kept.exists():
        folders = {folder.name: _files(folder) for folder in sorted(root.iterdir()) if folder.is_dir()}
        if len({name_of(folder) for folder in folders}) < 4 * UNKNOWN:
            raise SystemExit(
                f"{root} has {len(folders)} class folders; expected at least {4 * UNKNOWN}, laid out like "
                "Caltech-101: one folder a class"
            )
        alike = {file: fingerprint(file) for files in folders.values() for file in files}
        photos = split_photos(folders, alike)
        with replacing(kept) as draft:
            draft.write_text(json.dumps([asdict(photo) for photo in photos]))
    return [Photo(**photo) for photo in json.loads(kept.read_text())]


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in ENDINGS)


def fingerprint(file: Path) -> bytes:
    """Equal for copies of a photo: which of 8x8 gray cells are brighter than the mean."""
    with Image.open(file) as image:
        gray = np.asarray(image.convert("L").resize((8, 8), Image.Resampling.BOX), float)
    return np.packbits(gray > gray.mean()).tobytes()


def split_photos(folders: Mapping[str, Sequence[Path]], alike: dict[Path, bytes]) -> list[Photo]:
    """Photos with their splits, drawn by a fixed seed; copies of one photo share a split.

    Of unknown classes, all photos are in one split: those of the test split were never seen in training.
    """
    unknown = unknown_names(name_of(folder) for folder in folders if folder != CLUTTER)
    photos = []
    for folder, files in sorted(folders.items()):
        name = None if folder == CLUTTER else name_of(folder)
        for file, split in _splits(files, alike, folder).items():
            where = unknown.get(name, split) if name else split
            photos.append(Photo(str(file), name, name is not None and name not in unknown, where))
    random.Random("photos").shuffle(photos)
    return photos


def unknown_names(names: Iterable[str]) -> dict[str, str]:
    """The names that no training says, by the split that their photos are in."""
    drawn = random.Random("unknown").sample(sorted(set(names)), UNKNOWN * len(SPLITS))
    return {name: SPLITS[number % len(SPLITS)] for number, name in enumerate(drawn)}


def _splits(files: Sequence[Path], alike: dict[Path, bytes], folder: str) -> dict[Path, str]:
    groups: dict[bytes, list[Path]] = {}
    for file in files:
        groups.setdefault(alike[file], []).append(file)
    order = [groups[key] for key in sorted(groups)]
    random.Random(f"split {folder}").shuffle(order)
    found: dict[Path, str] = {}
    room = {**HELD, "train": MOST}
    for group in order:
        split = next((split for split in SPLITS if room[split] > 0), None)
        if split is None:
            break
        room[split] -= len(group)
        found |= dict.fromkeys(group, split)
    return found
