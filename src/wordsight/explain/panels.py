"""Panels: one for every picture or frame, where its tokens lie on it, and its picture for a page."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated

import torch
from PIL import Image
from typing_extensions import TypedDict

from wordsight._utils.numbers import rounded
from wordsight.media.inputs import MediaInput
from wordsight.models.tokens import VisualTokens

SIDE = 1280  # pixels of a picture in the page, at most
BYTES = 1_000_000  # of all pictures in the page
QUALITIES = (90, 75, 60, 40, 20)
CROPS = ("whole picture", "enlarged picture")


class CropRecord(TypedDict):
    """A grid of tokens over a picture; the first crop is the whole picture at low resolution."""

    crop: int
    label: str
    rows: int
    columns: int


class PanelRecord(TypedDict):
    """A picture or frame that tokens are of."""

    title: str
    width: Annotated[int, "in pixels"]
    height: Annotated[int, "in pixels"]
    frame: Annotated[int, "its number among all pictures or frames"]
    crops: list[CropRecord]
    extent: Annotated[list[float], "left, top, right and bottom of all its tokens, as shares of the picture"]


def panels(media: MediaInput, tokens: VisualTokens, names: Sequence[str]) -> list[PanelRecord]:
    """A panel per picture or frame that tokens are of; its extent includes padding."""
    titles, frames = _titles(media, names, int(tokens.cell[:, 0].max()) + 1)
    records: list[PanelRecord] = []
    for image, (title, frame) in enumerate(zip(titles, frames, strict=True)):
        own = tokens.take((tokens.cell[:, 0] == image).nonzero()[:, 0])
        assert own.box is not None, "a family with a picture map gives boxes"
        low, high = own.box[:, :2].amin(0).clamp(max=0), own.box[:, 2:].amax(0).clamp(min=1)
        width, height = media.frames[frame].size
        records.append(
            {
                "title": title,
                "width": width,
                "height": height,
                "frame": frame,
                "crops": [_crop(own, crop) for crop in torch.unique(own.cell[:, 1]).tolist()],
                "extent": rounded(low) + rounded(high),
            }
        )
    return records


def _crop(tokens: VisualTokens, crop: int) -> CropRecord:
    rows, columns = (tokens.cell[tokens.cell[:, 1] == crop, 2:].amax(0) + 1).tolist()
    return {"crop": crop, "label": CROPS[min(crop, 1)], "rows": rows, "columns": columns}


def _titles(media: MediaInput, names: Sequence[str], count: int) -> tuple[list[str], list[int]]:
    """What each of `count` panels is called, and which of all frames it shows."""
    if not media.videos:
        return list(names), list(range(count))
    titles, frames, start = [], [], 0
    shared = _frames_per_grid([len(video.frames) for video in media.videos], count)
    for name, video in zip(names, media.videos, strict=True):
        for first in range(0, len(video.frames), shared):
            times = video.times[first : first + shared]
            numbers = " and ".join(str(first + i + 1) for i in range(len(times)))
            titles.append(f"{name}, frame {numbers}, {times[0]:.1f} s")
            frames.append(start + first)
        start += len(video.frames)
    return titles, frames


def _frames_per_grid(sizes: Sequence[int], count: int) -> int:
    """How many frames share their tokens, in videos of so many frames that have `count` grids in all."""
    return next(step for step in range(1, max(sizes) + 1) if sum(-(-size // step) for size in sizes) == count)


def numbered(names: Sequence[str]) -> list[str]:
    """The names of several pictures or videos with their numbers before them: two may be called alike."""
    return [f"{i}. {name}" if len(names) > 1 else name for i, name in enumerate(names, 1)]


def pictures(media: MediaInput, panels: Sequence[PanelRecord]) -> list[str]:
    """The picture of every panel as a data URL: JPEG, smaller the more there are."""
    side = round(SIDE / len(panels) ** 0.5)
    return [_jpeg(media.frames[panel["frame"]], side, BYTES // len(panels)) for panel in panels]


def _jpeg(picture: Image.Image, side: int, limit: int) -> str:
    small = picture.copy()
    small.thumbnail((side, side))
    for quality in QUALITIES:
        file = io.BytesIO()
        small.save(file, "JPEG", quality=quality, subsampling=0 if quality > 80 else 2)
        if file.tell() <= limit:
            break
    return f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"
