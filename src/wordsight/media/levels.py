"""Levels: pictures of more than eight bits, of floats and of arrays, as the eight bits that models read.

Black is 0. White is what the type or, where that cannot be, the data say: of whole numbers the largest of
8, 10, 12, 14 or 16 bits in use, of floats 1, 255 or 65535. What was assumed is a MediaNote; what cannot
be known is refused.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wordsight.errors import MediaError

WHITES = (2**8 - 1, 2**10 - 1, 2**12 - 1, 2**14 - 1, 2**16 - 1)
FLOAT_WHITES = (1.0, 255.0, 65535.0)
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # modes of Pillow with more than eight bits


class MediaNote(UserWarning):
    """What was assumed about a picture or film that leaves something open."""


def in_eight_bits(image: Image.Image, name: str) -> Image.Image:
    """The picture in a mode of eight bits; errors and notes call it `name`."""
    if image.mode not in DEEP:
        return image
    return Image.fromarray(eight_bits(np.asarray(image), name))


def picture_of_array(values: Any, name: str = "the array") -> Image.Image:
    """The picture of an array (H, W) or (H, W, 1, 3 or 4), or channels first; of a tensor as of an array."""
    array = np.asarray(values.detach().cpu().numpy() if hasattr(values, "detach") else values)
    if array.ndim == 3 and array.shape[-1] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = np.moveaxis(array, 0, -1)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4)) or 0 in array.shape:
        raise MediaError(
            f"{name} has shape {array.shape}; expected (height, width), or that with 1, 3 or 4 channels "
            "first or last; a list of pictures is a list of such arrays"
        )
    array = eight_bits(array, name)
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array)


def eight_bits(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """The values between 0 and 255. Raises MediaError if it cannot be told what is white."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind not in "iuf":
        raise MediaError(f"{name} holds values of type {array.dtype}; expected whole numbers or floats")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise MediaError(f"{name} holds NaN or infinity; replace what is missing before you ask about it")
    low, high = float(array.min()), float(array.max())
    whites = FLOAT_WHITES if array.dtype.kind == "f" else WHITES
    white = next((white for white in whites if high <= white), None)
    if low < 0 or white is None:
        raise MediaError(
            f"{name} holds values from {low:g} to {high:g}, of which it cannot be told which is black and "
            "which is white; scale them to 0..255, or floats to 0..1"
        )
    if white != np.iinfo(np.uint16).max or array.dtype != np.uint16:
        warnings.warn(
            f"{name}: its values reach {high:g} ({array.dtype}): {white:g} is taken as white",
            MediaNote,
            stacklevel=2,
        )
    scaled: NDArray[np.uint8] = np.round(array.astype(np.float64) * (255 / white)).astype(np.uint8)
    return scaled
