"""Resize: the baseline that needs no pruner, a smaller picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from typing import Any

from PIL import Image

from wordsight.media.inputs import Media, MediaInput


def resized(media: Media | Sequence[Media] | MediaInput, share: float) -> list[Any]:
    """The same pictures, or videos frame by frame, with this share of their pixels; what the processor makes
    of them is its own affair.
    """
    opened = MediaInput.of(media)
    videos = [
        replace(video, frames=tuple(_smaller(frame, share) for frame in video.frames))
        for video in opened.videos
    ]
    return [*(_smaller(picture, share) for picture in opened.pictures), *videos]


def _smaller(picture: Image.Image, share: float) -> Image.Image:
    width, height = (max(1, round(side * sqrt(share))) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)
