"""InternVL (2.5 to 3.5): tiles of the enlarged picture, row by row, then the whole one; video frames as they
are.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

from wordsight.models.families.base import Family, Grid, VisionContext, square_side
from wordsight.models.vision_tower import VisionTower, mean_pooled


class InternVL(Family):
    """model_type "internvl". A picture that fits into one tile is read once, as a whole."""

    def grids(self, context: VisionContext) -> list[Grid]:
        side = square_side(context.config.image_seq_length)
        found: list[Grid] = []
        runs = context.runs(context.config.image_token_id)
        for image, ((_, length), size) in enumerate(zip(runs, context.sizes, strict=True)):
            tiles = length // side**2 - 1
            columns = tiled_canvas(context.processor.image_processor, size)[0] if tiles else 1
            found += tiled(image, side, columns, tiles // columns)
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


def tiled(image: int, side: int, columns: int, rows: int) -> list[Grid]:
    """The grids of a picture's tiles, each a square of `side` tokens, and of the whole picture after them."""
    places = [(row, column) for row in range(rows) for column in range(columns)]
    whole = (side * rows, side * columns)
    tiles = [Grid(image, 1, side, side, side * row, side * column, whole) for row, column in places]
    return [*tiles, Grid(image, 0, side, side)]


def tiled_canvas(pixels: Any, size: tuple[int, int]) -> tuple[int, int]:
    """Columns and rows of the tiles that this processor cuts a picture of `size` (width, height) into."""
    tile = pixels.size["height"], pixels.size["width"]
    columns, rows = get_optimal_tiled_canvas(size[::-1], tile, pixels.min_patches, pixels.max_patches)
    return int(columns), int(rows)


FAMILY = InternVL()
