"""Ovis2: the whole picture, then tiles of it enlarged, row by row; its encoder embeds the marks between."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from wordsight.models.families.base import Family, Grid, VisionContext, square_side


class Ovis2(Family):
    """model_type "ovis2". A token is the mean of visual words, by how likely each is; no signals are read."""

    def grids(self, context: VisionContext) -> list[Grid]:
        """A mark before every run of placeholders says where it is: after the first, at the left, beside or
        below the one before.
        """
        side = square_side(context.counts[0])
        begin, first, beside, below, _ = context.config.visual_indicator_token_ids
        ids = context.inputs["input_ids"][0]
        pictures: list[list[Grid]] = []
        for start, _ in context.runs(context.config.image_token_id):
            mark = int(ids[start - 1])
            if mark == begin:
                pictures.append([Grid(len(pictures), 0, side, side)])
                continue
            last = pictures[-1][-1]
            top = last.top + side if mark == below else last.top
            left = last.left + side if mark == beside else 0
            tile = (0, 0) if mark == first else (top, left)
            pictures[-1].append(Grid(len(pictures) - 1, 1, side, side, *tile))
        return [grid for picture in pictures for grid in _whole(picture)]

    def projector(self, model: Any) -> nn.Module:
        table: nn.Module = model.model.visual_embeddings_table
        return table


def _whole(picture: list[Grid]) -> list[Grid]:
    """The grids of a picture, the tiles with rows and columns of all of them."""
    first, *tiles = picture
    size = max((tile.top + tile.rows for tile in tiles), default=0)
    width = max((tile.left + tile.columns for tile in tiles), default=0)
    return [first, *(replace(tile, whole=(size, width)) for tile in tiles)]


FAMILY = Ovis2()
