"""Gemma 4: one grid per picture, of its own shape; larger models read a picture in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from wordsight.models.families.base import Family, Grid, VisionContext


class Gemma4(Family):
    """model_type "gemma4"."""

    per_token = ("mm_token_type_ids",)
    generated: ClassVar[Mapping[str, int]] = {"mm_token_type_ids": 0}

    def is_causal(self, model: Any) -> bool:
        return bool(model.config.text_config.use_bidirectional_attention != "vision")

    def grids(self, context: VisionContext) -> list[Grid]:
        kind = "video" if context.is_video else "image"
        places = context.inputs[f"{kind}_position_ids"].flatten(0, -3)  # (pictures, patches, 2): column, row
        pooled = context.config.vision_config.pooling_kernel_size
        shapes = (places.amax(1) + 1).div(pooled, rounding_mode="floor").tolist()
        return [Grid(image, 0, rows, columns) for image, (columns, rows) in enumerate(shapes)]

    def projector(self, model: Any) -> nn.Module:
        projector: nn.Module = model.model.embed_vision
        return projector


FAMILY = Gemma4()
