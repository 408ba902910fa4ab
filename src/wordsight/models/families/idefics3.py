"""Idefics3: tiles of the enlarged picture, each after a tag with its row and column, then the whole one."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from wordsight.models.families.base import Family, Grid, VisionContext, square_side
from wordsight.models.vision_tower import VisionTower, mean_pooled

TAG = re.compile(r"row_(\d+)_col_(\d+)")


class Idefics3(Family):
    """model_type "idefics3". A picture or video frame without tiles is read once, as a whole."""

    def grids(self, context: VisionContext) -> list[Grid]:
        found: list[Grid] = []
        tiles: list[Grid] = []
        ids, image = context.inputs["input_ids"][0], 0
        runs = context.runs(context.config.image_token_id)
        for (start, _), (height, width) in zip(runs, self.shapes(context), strict=True):
            before = context.processor.tokenizer.convert_ids_to_tokens(int(ids[start - 1]))
            if tag := TAG.search(before):
                row, column = (int(number) - 1 for number in tag.groups())
                tiles.append(Grid(image, 1, height, width, height * row, width * column))
            else:
                rows = max((tile.top + tile.rows for tile in tiles), default=0)
                columns = max((tile.left + tile.columns for tile in tiles), default=0)
                found += [replace(tile, whole=(rows, columns)) for tile in tiles]
                found.append(Grid(image, 0, height, width))
                tiles, image = [], image + 1
        return found

    def shapes(self, context: VisionContext) -> list[tuple[int, int]]:
        """Rows and columns of every tile and whole picture."""
        runs = context.runs(context.config.image_token_id)
        return [(square_side(length), square_side(length)) for _, length in runs]

    def tower(self, model: Any) -> VisionTower | None:
        tower = model.model.vision_model
        return VisionTower(tower, [block.self_attn for block in tower.encoder.layers], None, has_cls=False)

    def arrange_signal(self, model: Any, context: VisionContext, signal: Tensor) -> Tensor:
        vision = context.config.vision_config
        return mean_pooled(signal, context.config.scale_factor, vision.image_size // vision.patch_size)

    def projector(self, model: Any) -> nn.Module:
        connector: nn.Module = model.model.connector
        return connector


FAMILY = Idefics3()
