"""Qwen2-VL: pictures of any size in one grid, positions of time, row and column (M-RoPE)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from wordsight.models.families.base import Family, Grid, VisionContext
from wordsight.models.vision_tower import PackedVisionTower


class Qwen2VL(Family):
    """model_type "qwen2_vl". Two frames of a video (`temporal_patch_size`) share their tokens: they count as
    one.
    """

    def grids(self, context: VisionContext) -> list[Grid]:
        kind = "video" if context.is_video else "image"
        merge = self.merged(context)
        shapes = [
            (height // merge, width // merge)
            for times, height, width in context.inputs[f"{kind}_grid_thw"].tolist()
            for _ in range(times)
        ]
        return [Grid(image, 0, *shape) for image, shape in enumerate(shapes)]

    def merged(self, context: VisionContext) -> int:
        """How many patches along an edge become one token."""
        factor: int = context.config.vision_config.spatial_merge_size
        return factor

    def tower(self, model: Any) -> PackedVisionTower:
        tower = model.model.visual
        return PackedVisionTower(tower, [block.attn for block in tower.blocks])

    def arrange_signal(self, model: Any, context: VisionContext, signal: Tensor) -> Tensor:
        """Means of the patches that are merged into one token: the processor has them one after another. What
        the tower returns may be merged already.
        """
        if len(signal) == sum(context.counts):
            return signal
        patches = self.merged(context) ** 2
        return signal.reshape(-1, patches, *signal.shape[1:]).mean(1)

    def projector(self, model: Any) -> nn.Module:
        merger: nn.Module = model.model.visual.merger
        return merger

    def positions(self, model: Any, inputs: Mapping[str, Any]) -> Tensor:
        index = model.model.get_rope_index
        known = {name: inputs[name] for name in inspect.signature(index).parameters if name in inputs}
        places = index(**known)[0][:, 0]  # (3, L)
        return torch.cat([torch.arange(places.shape[-1], device=places.device)[None], places])


FAMILY = Qwen2VL()
