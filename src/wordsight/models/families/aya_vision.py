"""Aya Vision: tiles of the enlarged picture, row by row, each after a tag, then the whole one."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from wordsight.models.families.base import Grid, VisionContext, square_side
from wordsight.models.families.internvl import tiled, tiled_canvas
from wordsight.models.families.llava import Llava
from wordsight.models.vision_tower import mean_pooled


class AyaVision(Llava):
    """model_type "aya_vision". A picture that fits into one tile is read once, as a whole."""

    def grids(self, context: VisionContext) -> list[Grid]:
        side = square_side(context.counts[0])
        found: list[Grid] = []
        for image, size in enumerate(context.sizes):
            columns, rows = self.canvas(context.processor.image_processor, size)
            found += tiled(image, side, columns, rows if columns * rows > 1 else 0)
        return found

    @staticmethod
    def canvas(pixels: Any, size: tuple[int, int]) -> tuple[int, int]:
        """Columns and rows of the tiles that this processor cuts a picture of `size` (width, height) into."""
        return tiled_canvas(pixels, size) if pixels.crop_to_patches else (1, 1)

    def arrange_signal(self, model: Any, context: VisionContext, signal: Tensor) -> Tensor:
        vision = context.config.vision_config
        return mean_pooled(signal, context.config.downsample_factor, vision.image_size // vision.patch_size)


FAMILY = AyaVision()
