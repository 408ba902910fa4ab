"""Panels: one for every picture or frame, where its tokens lie on it, and its picture for a page."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from wordsight._utils.numbers import rounded
from wordsight.media.inputs import MediaInput
from wordsight.models.tokens import VisualTokens

SIDE = 1280  # pixels of a picture in the page, at most
BYTES = 1_000_000  # of all pictures in the page
QUALITIES = (90, 75, 60, 40, 20)
CROPS = ("whole picture", "enlarged picture")


def panels(shown: MediaInput, tokens: VisualTokens, names: Sequence[str]) -> list[dict[str, Any]]:
    """Per picture or frame that tokens are of: its title, its size in pixels, the number of its frame among
    all, the grids of its crops, and the extent of all its tokens, padding and all, as shares of it.
    """
    titles, frames = _titles(shown, names, int(tokens.cell[:, 0].max()) + 1)
    found = []
    for image, (title, frame) in enumerate(zip(titles, frames, strict=True)):
        here = tokens.take((tokens.cell[:, 0] == image).nonzero()[:, 0])
        assert here.box is not None, "a family with a picture map gives boxes"
        crops = [
            {
                "crop": crop,
                "label": CROPS[min(crop, 1)],
                "rows": int(here.cell[here.cell[:, 1] == crop, 2].max()) + 1,
                "columns": int(here.cell[here.cell[:, 1] == crop, 3].max()) + 1,
            }
            for crop in torch.unique(here.cell[:, 1]).tolist()
        ]
        low, high = here.box[:, :2].amin(0).clamp(max=0), here.box[:, 2:].amax(0).clamp(min=1)
        width, height = shown.frames[frame].size
        size = {"width": width, "height": height, "frame": frame}
        found.append({"title": title, **size, "crops": crops, "extent": rounded(low) + rounded(high)})
    return found


def _titles(shown: MediaInput, names: Sequence[str], count: int) -> tuple[list[str], list[int]]:
    """What each of `count` panels is called, and which of all frames it shows."""
    if not shown.videos:
        return list(names), list(range(count))
    titles, frames, start = [], [], 0
    together = _together([len(video.frames) for video in shown.videos], count)
    for name, video in zip(names, shown.videos, strict=True):
        for first in range(0, len(video.frames), together):
            times = video.times[first : first + together]
            told = " and ".join(str(first + i + 1) for i in range(len(times)))
            titles.append(f"{name}, frame {told}, {times[0]:.1f} s")
            frames.append(start + first)
        start += len(video.frames)
    return titles, frames


def _together(sizes: Sequence[int], count: int) -> int:
    """How many frames share their tokens, in videos of so many frames that have `count` grids in all."""
    return next(step for step in range(1, max(sizes) + 1) if sum(-(-size // step) for size in sizes) == count)


def numbered(names: Sequence[str]) -> list[str]:
    """The names of several pictures or videos with their numbers before them: two may be called alike."""
    return [f"{i}. {name}" if len(names) > 1 else name for i, name in enumerate(names, 1)]


def pictures(shown: MediaInput, told: Sequence[dict[str, Any]]) -> list[str]:
    """The picture of every panel as a data URL: JPEG, smaller the more there are."""
    side = round(SIDE / len(told) ** 0.5)
    return [_jpeg(shown.frames[panel["frame"]], side, BYTES // len(told)) for panel in told]


def _jpeg(picture: Image.Image, side: int, limit: int) -> str:
    small = picture.copy()
    small.thumbnail((side, side))
    for quality in QUALITIES:
        file = io.BytesIO()
        small.save(file, "JPEG", quality=quality, subsampling=0 if quality > 80 else 2)
        if file.tell() <= limit:
            break
    return f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"
