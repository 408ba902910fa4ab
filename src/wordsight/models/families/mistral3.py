"""Mistral Small 3.1: one grid per picture, of its own shape, patches merged; a Pixtral tower."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wordsight.models.families.base import Family, Grid, VisionContext
from wordsight.models.vision_tower import PackedVisionTower, VisionTower


class Mistral3(Family):
    """model_type "mistral3". The line breaks between rows are text, so that they always stay."""

    def grids(self, context: VisionContext) -> list[Grid]:
        edge = context.config.vision_config.patch_size * merged(context.config)
        shapes = (context.inputs["image_sizes"] // edge).tolist()
        return [Grid(image, 0, rows, columns) for image, (rows, columns) in enumerate(shapes)]

    def tower(self, model: Any) -> VisionTower | None:
        layer = model.config.vision_feature_layer
        if not isinstance(layer, int):
            return None
        tower = model.model.vision_tower
        attentions = [block.attention for block in tower.transformer.layers]
        return PackedVisionTower(tower, attentions, layer)

    def arrange_signal(self, model: Any, context: VisionContext, signal: Tensor) -> Tensor:
        """Means of the patches that are merged into one token."""
        factor, found, start = merged(context.config), [], 0
        for grid in self.grids(context):
            patches = signal[start : start + grid.rows * grid.columns * factor**2]
            shape = (grid.rows, factor, grid.columns, factor, *signal.shape[1:])
            found.append(patches.reshape(shape).mean((1, 3)).flatten(0, 1))
            start += len(patches)
        return torch.cat(found)


def merged(config: Any) -> int:
    """How many patches along an edge become one token."""
    factor: int = getattr(config, "spatial_merge_size", 1)
    return factor


FAMILY = Mistral3()
