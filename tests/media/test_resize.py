"""Resized pictures have the share of pixels they are asked to have."""

import numpy as np
import pytest
from PIL import Image

from wordsight.media.resize import resized
from wordsight.media.video import Video


@pytest.mark.parametrize(
    ("size", "share", "expected"),
    [
        ((200, 100), 0.25, (100, 50)),
        ((200, 100), 1.0, (200, 100)),
        ((100, 100), 0.1, (32, 32)),
        ((3, 300), 0.01, (1, 30)),
    ],
)
def test_both_sides_shrink_by_the_root_of_the_share(size, share, expected):
    (picture,) = resized(Image.new("RGB", size), share)
    assert picture.size == expected


def test_a_picture_of_halves_stays_one_of_halves():
    wide = np.zeros((80, 80, 3), np.uint8)
    wide[:, 40:] = 255
    (picture,) = resized(Image.fromarray(wide), 0.25)
    small = np.asarray(picture)
    assert small[:, :18].max() == 0
    assert small[:, 22:].min() == 255


def test_every_picture_and_every_frame_is_resized():
    pictures = [Image.new("RGB", (40, 40)), Image.new("RGB", (80, 20))]
    assert [picture.size for picture in resized(pictures, 0.25)] == [(20, 20), (40, 10)]
    video = Video.of([Image.new("RGB", (40, 20))] * 3, fps=2)
    (smaller,) = resized(video, 0.25)
    assert [frame.size for frame in smaller.frames] == [(20, 10)] * 3
    assert (smaller.times, smaller.duration) == (video.times, video.duration)


def test_a_picture_that_lies_in_a_file_is_opened(tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "x.png")
    assert resized(tmp_path / "x.png", 0.25)[0].size == (20, 20)
