"""Levels: pictures of more than eight bits, of floats and of arrays, as the eight bits that models read.

Black is 0. White is what the format or the type says or, where neither does, the data: of whole numbers the
largest of 8, 10, 12, 14 or 16 bits in use, of floats 1, 255 or 65535. What was assumed is a note; what
cannot be known is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wordsight._utils.notes import note
from wordsight.errors import MediaError

SIXTEEN_BITS = 2**16 - 1
WHITES = (2**8 - 1, 2**10 - 1, 2**12 - 1, 2**14 - 1, SIXTEEN_BITS)
# Floats go up to their white, or hardly beyond; how far below it the brightest of them may be.
FLOAT_WHITES = {1.0: 0.0, 255.0: 16.0, 65535.0: 4096.0}
SLACK = 1 / 255  # of white, that floats may be off by
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # modes of Pillow with more than eight bits
SCALED = ("PPM", "JPEG2000")  # formats whose whole numbers Pillow spreads over all 16 bits
DARK = 2**14 >> 8  # the high byte of colors that use 14 bits of 16


def in_eight_bits(image: Image.Image, name: str, white: int | None = None) -> Image.Image:
    """The picture in a mode of eight bits, where white may be known; errors and notes call it `name`."""
    if image.mode not in DEEP:
        return image
    return Image.fromarray(eight_bits(np.asarray(image), name, white))


def check_colors(image: Image.Image, name: str) -> None:
    """Raises MediaError if colors of 16 bits, of which Pillow keeps the upper eight, use the lower ones."""
    if not image.mode.startswith(("RGB", "LA")):
        return
    extrema: Any = image.getextrema()  # per band the least and the greatest value
    if (highest := max(most for _, most in extrema[: len(image.mode.rstrip("A"))])) < DARK:
        raise MediaError(
            f"{name} has colors of 16 bits of which the brightest is at most {256 * highest + 255}: it "
            "cannot be told which is white; save it with 8 bits"
        )


def picture_of_array(values: Any, name: str = "the array") -> Image.Image:
    """The picture of an array (H, W) or (H, W, 1, 3 or 4), or channels first; of a tensor as of an array."""
    array = _as_array(values, name)
    if array.ndim == 3 and array.shape[-1] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = np.moveaxis(array, 0, -1)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4)) or 0 in array.shape:
        raise MediaError(
            f"{name} has shape {array.shape}; expected (height, width), or that with 1, 3 or 4 channels "
            "first or last; a list of pictures is a list of such arrays"
        )
    array = eight_bits(array, name)
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array)


def _as_array(values: Any, name: str) -> NDArray[Any]:
    tensor = values.detach().cpu() if hasattr(values, "detach") else values
    if "bfloat16" in str(getattr(tensor, "dtype", "")):  # numpy has none
        tensor = tensor.float()
    try:
        return np.asarray(tensor)
    except (RuntimeError, TypeError, ValueError) as error:
        raise MediaError(f"{name} cannot be read as numbers ({error}); give it as a numpy array") from error


def eight_bits(array: NDArray[Any], name: str, white: float | None = None) -> NDArray[np.uint8]:
    """The values between 0 and 255; notes say which was taken as white, if it is not given. Raises MediaError
    if it cannot be told.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind not in "iuf":
        raise MediaError(f"{name} holds values of type {array.dtype}; expected whole numbers or floats")
    if not np.isfinite(array).all():
        raise MediaError(f"{name} holds NaN or infinity; replace what is missing before you ask about it")
    low, high = float(array.min()), float(array.max())
    white = white or _white(array.dtype, low, high, name)
    scaled: NDArray[np.uint8] = np.round(array.astype(np.float64).clip(0, white) * (255 / white)).astype(
        np.uint8
    )
    return scaled


def _white(dtype: np.dtype[Any], low: float, high: float, name: str) -> float:
    """The value that is white, from the type and the range of the values."""
    if dtype.kind == "f":
        slack = {white: white * SLACK for white in FLOAT_WHITES}
        fits = [
            white
            for white, least in FLOAT_WHITES.items()
            if least <= high <= white + slack[white] and low >= -slack[white]
        ]
    else:
        fits = [white for white in WHITES if high <= white and low >= 0]
    if not fits:
        raise MediaError(
            f"{name} holds values from {low:g} to {high:g}, of which it cannot be told which is black and "
            "which is white; scale them to 0..255, or floats to 0..1"
        )
    if fits[0] != (1 if dtype.kind == "f" else np.iinfo(dtype).max):
        note(f"{name}: its values reach {high:g} ({dtype}): {fits[0]:g} is taken as white")
    return fits[0]
