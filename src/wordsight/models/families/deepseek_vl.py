"""DeepSeek-VL: one square grid per picture, which is padded to a square."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from wordsight.models.families.base import Family, Grid, VisionContext, square_of
from wordsight.models.vision_tower import VisionTower


class DeepseekVL(Family):
    """model_type "deepseek_vl"."""

    def grids(self, context: VisionContext) -> list[Grid]:
        grids = super().grids(context)
        regions = [square_of(size, inside=False) for size in context.sizes_of(len(grids))]
        return [replace(grid, region=region) for grid, region in zip(grids, regions, strict=True)]

    def tower(self, model: Any) -> VisionTower:
        tower = model.model.vision_model
        return VisionTower(tower, [block.self_attn for block in tower.encoder.layers], None, has_cls=False)

    def projector(self, model: Any) -> nn.Module:
        aligner: nn.Module = model.model.aligner
        return aligner


FAMILY = DeepseekVL()
