"""Scopes: what has a budget of its own, be it the whole prompt or every image, frame or crop of it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from wordsight.models.tokens import VisualTokens

BudgetScope = Literal["prompt", "image", "frame", "crop"]


def split(tokens: VisualTokens, scope: BudgetScope) -> list[VisualTokens]:
    """The tokens of every scope; none is a line break, which has no place in a crop.

    An "image" is a picture with its enlarged crops, or all videos; a "frame" is a picture or a frame of a
    video; a "crop" is what a vision tower reads at once: a frame, a whole picture, or a tile of it enlarged.
    To a model that takes no videos, the frames of one are pictures.
    """
    if scope == "prompt" or not len(tokens):
        return [tokens]
    _, number, sizes = torch.unique(_places(tokens, scope), dim=0, return_inverse=True, return_counts=True)
    return [tokens.take(part) for part in torch.split(number.argsort(stable=True), sizes.tolist())]


def _places(tokens: VisualTokens, scope: BudgetScope) -> Tensor:
    """(N, 3) what tells the scope of each token from others: image, crop, tile."""
    places = torch.zeros_like(tokens.cell[:, :3])
    places[:, 0] = tokens.cell[:, 0]
    if scope == "image" and tokens.is_video is not None:
        places[tokens.is_video, 0] = -1
    if scope == "crop":
        places[:, 1] = tokens.cell[:, 1]
        for image in torch.unique(tokens.cell[tokens.cell[:, 1] == 1, 0]):
            here = tokens.cell[:, 0] == image
            whole, large = (here & (tokens.cell[:, 1] == crop) for crop in (0, 1))
            if whole.any():
                cells = tokens.cell[large]
                places[large, 2] = tile_of(cells, tile_counts(tokens.cell[whole], cells))
    return places


def tile_counts(whole: Tensor, large: Tensor) -> Tensor:
    """(2,) how many tiles an enlarged picture has down and across: as many as it takes of the size of the
    whole one, of the cells (N, 4) of both.
    """
    small, great = _size(whole), _size(large)
    return (great + small - 1) // small


def tile_of(cell: Tensor, tiles: Tensor) -> Tensor:
    """(N,) in which of so many equal parts, down and across, of a crop its cells (N, 4) are."""
    down, across = (cell[:, 2:] * tiles // _size(cell)).unbind(1)
    return down * tiles[1] + across


def _size(cell: Tensor) -> Tensor:
    """(2,) rows and columns of the crop that these are the cells of, as far as there are any."""
    return cell[:, 2:].amax(0) + 1
