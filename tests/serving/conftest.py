"""Fixtures: what is asked of a server."""

import numpy as np
import pytest
from PIL import Image

from wordsight.tasks.scenes import Scenes


@pytest.fixture(scope="session")
def examples():
    """Two questions about each of twenty pictures."""
    found, seen = [], {}
    for example in Scenes(pictures=20).examples():
        seen[example.picture_id] = seen.get(example.picture_id, 0) + 1
        if seen[example.picture_id] <= 2:
            found.append(([example.images], example.question))
    assert len(found) == 40
    return found


@pytest.fixture(scope="session")
def noise():
    """A function that makes up a picture of this size."""

    def make(number, width, height):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return Image.fromarray(pixels)

    return make
