"""Outlines that people drew: Caltech-101's own annotations, as the share of every token's square inside them.

They come beside the pictures on the data set's page, as Annotations/FOLDER/annotation_0001.mat, in pixels of
the photo as it is there: lay that as 101_ObjectCategories beside Annotations.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vision import GRID

FINE = 16  # points on a token's side
# Folders of the pictures whose annotations are in a folder of another name.
FOLDERS = {
    "Faces": "Faces_2",
    "Faces_easy": "Faces_3",
    "Motorbikes": "Motorbikes_16",
    "airplanes": "Airplanes_Side_2",
}


def read_outline(photo: Path, annotations: Path, size: tuple[int, int]) -> NDArray[np.float64] | None:
    """(64,) shares for a photo of this size; None if it has no outline, or nothing tells how large the photo
    was that was drawn on.
    """
    from scipy.io import loadmat

    folder = FOLDERS.get(photo.parent.name, photo.parent.name)
    file = annotations / folder / f"annotation_{photo.stem.removeprefix('image_')}.mat"
    drawn_on = size_drawn_on(photo, annotations, size)
    if drawn_on is None or not file.exists():
        return None
    found = loadmat(file)
    top, _, left, _ = found["box_coord"].ravel()
    return inside(found["obj_contour"] + np.array([[left], [top]]), drawn_on)


def size_drawn_on(photo: Path, annotations: Path, size: tuple[int, int]) -> tuple[int, int] | None:
    """The size of the data set's own photo of that name. Without it the size of this one, or None if its
    shorter side is 224 or more: it may have been made smaller since.
    """
    original = annotations.parent / "101_ObjectCategories" / photo.parent.name / photo.name
    if original.exists():
        with Image.open(original) as image:
            return image.size
    return size if min(size) < 224 else None


def inside(contour: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """(64,) the share of every token's square inside a contour (2, points) of x and y in pixels."""
    side = GRID * FINE
    canvas = Image.new("1", (side, side))
    points = contour.T * np.array([side / size[0], side / size[1]])
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in points.tolist()], fill=1)
    cells = np.asarray(canvas, float).reshape(GRID, FINE, GRID, FINE)
    return cells.mean((1, 3)).ravel()
