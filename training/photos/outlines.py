"""Outlines that people drew: Caltech-101's own annotations, as the share of every token's square inside them.

They come beside the pictures on the data set's page, as Annotations/FOLDER/annotation_0001.mat.
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
    """(64,) shares for a photo of this size; None if it has no outline, or may have been made smaller since
    it was drawn (its shorter side is 224 then, and what it was before is not known).
    """
    from scipy.io import loadmat

    folder = FOLDERS.get(photo.parent.name, photo.parent.name)
    file = annotations / folder / f"annotation_{photo.stem.removeprefix('image_')}.mat"
    if min(size) >= 224 or not file.exists():
        return None
    found = loadmat(file)
    top, _, left, _ = found["box_coord"].ravel()
    return inside(found["obj_contour"] + np.array([[left], [top]]), size)


def inside(contour: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """(64,) the share of every token's square inside a contour (2, points) of x and y in pixels."""
    side = GRID * FINE
    canvas = Image.new("1", (side, side))
    points = contour.T * np.array([side / size[0], side / size[1]])
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in points.tolist()], fill=1)
    cells = np.asarray(canvas, float).reshape(GRID, FINE, GRID, FINE)
    return cells.mean((1, 3)).ravel()
