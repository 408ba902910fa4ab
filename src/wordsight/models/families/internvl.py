"""InternVL (2.5 to 3.5): tiles of the enlarged picture, row by row, then the whole one; video frames as they
are.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

from wordsight.models.families.base import Family, Grid, Size, VisionContext, square_side
from wordsight.models.vision_tower import VisionTower, mean_pooled


class InternVL(Family):
    """model_type "internvl". A picture that fits into one tile is read once, as a whole.

    is_whole_first  whether the whole picture is read before its tiles.
    """

    is_whole_first: ClassVar[bool] = False

    def grids(self, context: VisionContext) -> list[Grid]:
        side = square_side(context.counts[0])
        counts = self.tiles(context)
        found: list[Grid] = []
        start = 0
        for image, (count, size) in enumerate(zip(counts, context.sizes_of(len(counts)), strict=True)):
            if count == 1:
                columns = 1
            elif size is None:
                pixels = context.inputs["pixel_values"].flatten(0, -4)  # (all tiles, C, H, W)
                tiles = pixels[start : start + count]
                columns = _columns_seen(tiles.roll(-1, 0) if self.is_whole_first else tiles)
            else:
                columns = self.columns(context.processor.image_processor, size)
            start += count
            *parts, whole = tiled(image, side, columns, (count - 1) // columns)
            found += [whole, *parts] if self.is_whole_first else [*parts, whole]
        return found

    def tiles(self, context: VisionContext) -> list[int]:
        """How many tiles each picture or frame is read in, the whole one among them."""
        tokens = context.counts[0]
        return [length // tokens for _, length in context.runs(context.config.image_token_id)]

    def columns(self, pixels: Any, size: Size) -> int:
        """Columns of the tiles that this processor of pictures cuts one of `size` into."""
        tile = pixels.size["height"], pixels.size["width"]
        columns: int = get_optimal_tiled_canvas(size[::-1], tile, pixels.min_patches, pixels.max_patches)[0]
        return columns

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


def tiled(image: int, side: int, columns: int, rows: int) -> list[Grid]:
    """The grids of a picture's tiles, each a square of `side` tokens, and of the whole picture after them."""
    places = [(row, column) for row in range(rows) for column in range(columns)]
    whole = (side * rows, side * columns)
    tiles = [Grid(image, 1, side, side, side * row, side * column, whole) for row, column in places]
    return [*tiles, Grid(image, 0, side, side)]


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


FAMILY = InternVL()
