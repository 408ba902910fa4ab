"""PerceptionLM: the whole picture, then tiles of it enlarged, row by row; a film's frames as they are."""

from __future__ import annotations

from typing import Any

from wordsight.models.families.base import Family, Grid, Size, VisionContext
from wordsight.models.families.internvl import InternVL
from wordsight.models.vision_tower import VisionTower


class PerceptionLM(InternVL):
    """model_type "perception_lm". wordsight reads no signals of its tower, one of timm."""

    is_whole_first = True

    def grids(self, context: VisionContext) -> list[Grid]:
        return Family.grids(self, context) if context.is_video else super().grids(context)

    def tiles(self, context: VisionContext) -> list[int]:
        pictures, tiles = context.inputs["pixel_values"].shape[:2]  # all have as many
        return [tiles] * pictures

    def columns(self, pixels: Any, size: Size) -> int:
        given = (*size, pixels.tile_size)
        columns, _ = pixels._fit_image_to_canvas(*given) or pixels._find_closest_aspect_ratio(*given)
        return int(columns)

    def tower(self, model: Any) -> VisionTower | None:
        return None


FAMILY = PerceptionLM()
