"""The color of what is salient, measured from its pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from names import COLORS

SALIENT = 0.7
LEAST = 0.02  # share of the picture that must be salient
CLEAR = 0.5  # share of the salient pixels that must be of one color
# Where a hue ends, in degrees, and what it is called up to there.
HUES = (
    (15, "red"),
    (45, "orange"),
    (70, "yellow"),
    (165, "green"),
    (260, "blue"),
    (300, "purple"),
    (345, "pink"),
)


def color_of(image: Image.Image, salient: NDArray[np.float32]) -> str | None:
    """The color that at least half of the salient pixels have; None if none is that clear."""
    size = salient.shape[::-1]
    chosen = color_names(image.resize(size, Image.Resampling.BOX))[salient > SALIENT]
    if chosen.size < LEAST * salient.size:
        return None
    counts = np.bincount(chosen, minlength=len(COLORS))
    best = int(counts.argmax())
    return COLORS[best] if counts[best] >= CLEAR * chosen.size else None


def color_names(image: Image.Image) -> NDArray[np.int64]:
    """(H, W) every pixel's color as its number in COLORS."""
    hue, saturation, value = np.moveaxis(np.asarray(image.convert("HSV"), float), -1, 0)
    degrees, saturation, value = hue * 360 / 256, saturation / 255, value / 255
    found = np.full(hue.shape, COLORS.index("red"))
    for end, name in reversed(HUES):
        found[degrees < end] = COLORS.index(name)
    # Dark orange is brown, light red is pink.
    found[(degrees >= 8) & (degrees < 45) & (value < 0.65)] = COLORS.index("brown")
    found[((degrees < 15) | (degrees >= 345)) & (saturation < 0.5) & (value > 0.7)] = COLORS.index("pink")
    gray = saturation < 0.18
    found[gray] = COLORS.index("gray")
    found[gray & (value > 0.75)] = COLORS.index("white")
    found[value < 0.2] = COLORS.index("black")
    return found
