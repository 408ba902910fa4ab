"""Painting into the box of a token, to see which token that moves."""

import numpy as np
from PIL import Image


def painted(picture, box):
    """The picture with the opposite colors inside a box."""
    left, top, right, bottom = box
    region = picture.crop((left, top, right, bottom))
    changed = picture.copy()
    changed.paste(Image.fromarray(255 - np.asarray(region)), (left, top))
    return changed


def crops(tokens, image):
    """The indices of the tokens of every grid of a picture."""
    here = (tokens.cell[:, 0] == image) & ~tokens.is_break
    for crop in sorted(set(tokens.cell[here, 1].tolist())):
        yield (here & (tokens.cell[:, 1] == crop)).nonzero()[:, 0]
