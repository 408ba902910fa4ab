"""What tests of rendered tasks share."""

import numpy as np
import pytest

from wordsight.synthetic import scenes


@pytest.fixture(scope="module")
def plain_backgrounds():
    """Textures take most of the time of a picture, and no test that asks for this looks at them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("draw_texture", "_plain"):
            patch.setattr(scenes, name, lambda *_: np.full((192, 192, 3), 255, np.float32))
        yield
