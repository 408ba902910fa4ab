"""Patches: crops of pictures around tokens, all on one sheet, so that a page holds each of them once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wordsight.media.images import load_picture
from wordsight.reports.palette import OUTLINE

SIDE = 56  # pixels of a patch
COLUMNS = 24
GRAY = (128, 128, 128)
Place = tuple[int, tuple[float, ...]]  # the number of a picture, and a box in it as shares


@dataclass(frozen=True)
class Patches:
    """A JPEG with every patch, and where on it each is: left and top in pixels."""

    sheet: bytes
    places: Mapping[Place, tuple[int, int]]

    @classmethod
    def of(cls, examples: Sequence[Mapping[str, Any]], paths: Sequence[Path]) -> Patches:
        """Of the examples of a record that have a box; those of the same box share a patch."""
        keys = sorted({place for example in examples if (place := place_of(example))})
        rows = -(-len(keys) // COLUMNS)
        sheet = Image.new("RGB", (COLUMNS * SIDE, max(1, rows) * SIDE), GRAY)
        places, number, picture = {}, -1, Image.new("RGB", (1, 1))
        for i, (image, box) in enumerate(keys):
            if image != number:
                number, picture = image, load_picture(paths[image])
            places[image, box] = (i % COLUMNS * SIDE, i // COLUMNS * SIDE)
            sheet.paste(around(picture, box), places[image, box])
        file = BytesIO()
        sheet.save(file, "JPEG", quality=85)
        return cls(file.getvalue(), places)


def tiled(patches: NDArray[np.uint8]) -> bytes:
    """A PNG with patches (N, side, side, 3) in their order, COLUMNS in a row."""
    count, side = patches.shape[:2]
    rows = -(-count // COLUMNS)
    squares = np.zeros((rows * COLUMNS, side, side, 3), np.uint8)
    squares[:count] = patches
    grid = squares.reshape(rows, COLUMNS, side, side, 3).swapaxes(1, 2)
    file = BytesIO()
    Image.fromarray(grid.reshape(rows * side, COLUMNS * side, 3)).save(file, "PNG", optimize=True)
    return file.getvalue()


def place_of(example: Mapping[str, Any]) -> Place | None:
    """What an example shows, if it is known."""
    return (example["picture"], tuple(example["box"])) if example["box"] else None


def around(picture: Image.Image, box: Sequence[float]) -> Image.Image:
    """What a token shows, outlined, with as much again on every side; gray beyond the picture."""
    left, right = (share * picture.width for share in (box[0], box[2]))
    top, bottom = (share * picture.height for share in (box[1], box[3]))
    side = 3 * max(right - left, bottom - top, 1.0)
    x, y = (left + right - side) / 2, (top + bottom - side) / 2
    scale = SIDE / side
    # An affine map takes a place of the patch to one of the picture; what lies outside is filled.
    patch = picture.transform(
        (SIDE, SIDE),
        Image.Transform.AFFINE,
        (1 / scale, 0, x, 0, 1 / scale, y),
        Image.Resampling.BILINEAR,
        fillcolor=GRAY,
    )
    corners = [round(scale * edge) for edge in (left - x, top - y, right - x, bottom - y)]
    ImageDraw.Draw(patch).rectangle([*corners[:2], corners[2] - 1, corners[3] - 1], outline=OUTLINE)
    return patch
