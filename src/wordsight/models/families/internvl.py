"""InternVL (2.5 to 3.5): tiles of the enlarged picture, row by row, then the whole one; video frames as they
are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

from wordsight.models.families.base import Family, Grid, VisionContext, square_side
from wordsight.models.vision_tower import VisionTower, mean_pooled


class InternVL(Family):
    """model_type "internvl". A picture that fits into one tile is read once, as a whole."""

    def grids(self, context: VisionContext) -> list[Grid]:
        side = square_side(context.config.image_seq_length)
        found: list[Grid] = []
        runs = context.runs(context.config.image_token_id)
        start = 0
        for image, ((_, length), size) in enumerate(zip(runs, context.sizes_of(len(runs)), strict=True)):
            tiles = length // side**2
            if tiles == 1:
                columns = 1
            elif size is None:
                columns = _columns_seen(context.inputs["pixel_values"][start : start + tiles])
            else:
                columns = _columns(context.processor.image_processor, size)
            start += tiles
            whole = (side * (tiles - 1) // columns, side * columns)
            found += [
                Grid(image, 1, side, side, side * (tile // columns), side * (tile % columns), whole)
                for tile in range(tiles - 1)
            ]
            found.append(Grid(image, 0, side, side))
        return found

    def tower(self, model: Any) -> VisionTower | None:
        layer = model.config.vision_feature_layer
        if not isinstance(layer, int) or model.config.vision_feature_select_strategy != "default":
            return None
        tower = model.model.vision_tower
        attentions = [block.attention for block in tower.encoder.layer]
        return VisionTower(tower, attentions, None if layer == -1 else layer, has_cls=True)

    def arrange_signal(self, model: Any, context: VisionContext, signal: Tensor) -> Tensor:
        factor = round(1 / context.config.downsample_ratio)
        return mean_pooled(signal, factor, factor * square_side(context.config.image_seq_length))


def _columns_seen(tiles: Tensor) -> int:
    """In how many columns the tiles (N, C, H, W) lie: the last one is the whole picture made small, which the
    others put together must look like.
    """
    *parts, whole = tiles.float()
    small = adaptive_avg_pool2d(whole, 32)

    def difference(columns: int) -> float:
        lines = [torch.cat(parts[start : start + columns], -1) for start in range(0, len(parts), columns)]
        return float((adaptive_avg_pool2d(torch.cat(lines, -2), 32) - small).square().mean())

    return min((one for one in range(1, len(parts) + 1) if len(parts) % one == 0), key=difference)


def _columns(pixels: Any, size: tuple[int, int]) -> int:
    tile = pixels.size["height"], pixels.size["width"]
    columns: int = get_optimal_tiled_canvas(size[::-1], tile, pixels.min_patches, pixels.max_patches)[0]
    return columns


FAMILY = InternVL()
