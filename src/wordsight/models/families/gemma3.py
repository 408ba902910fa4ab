"""Gemma 3: one square grid per picture; the tokens of a picture read each other in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from wordsight.models.families.base import Family, VisionContext, square_side
from wordsight.models.vision_tower import VisionTower, mean_pooled


class Gemma3(Family):
    """model_type "gemma3"."""

    per_token = ("token_type_ids",)
    generated: ClassVar[Mapping[str, int]] = {"token_type_ids": 0}

    def is_causal(self, model: Any) -> bool:
        return False

    def tower(self, model: Any) -> VisionTower:
        tower = model.model.vision_tower
        return VisionTower(tower, [block.self_attn for block in tower.encoder.layers], None, has_cls=False)

    def arrange_signal(self, model: Any, context: VisionContext, signal: Tensor) -> Tensor:
        vision = context.config.vision_config
        side = vision.image_size // vision.patch_size
        return mean_pooled(signal, side // square_side(context.config.mm_tokens_per_image), side)


FAMILY = Gemma3()
