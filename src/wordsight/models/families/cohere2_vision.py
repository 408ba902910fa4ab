"""Command A Vision (Cohere 2): as Aya Vision, but that its processor tiles in another way."""

from __future__ import annotations

from typing import Any

from wordsight.models.families.aya_vision import AyaVision
from wordsight.models.families.base import Size
from wordsight.models.vision_tower import VisionTower


class Cohere2Vision(AyaVision):
    """model_type "cohere2_vision"."""

    def columns(self, pixels: Any, size: Size) -> int:
        # Its file of the processor needs torchvision, as the processor itself.
        from transformers.models.cohere2_vision.image_processing_cohere2_vision import (
            get_optimal_tiled_canvas,
        )

        tile = pixels.size["height"], pixels.size["width"]
        columns: int = get_optimal_tiled_canvas(size[::-1], tile, pixels.min_patches, pixels.max_patches)[0]
        return columns

    def begin(self, processor: Any) -> int:
        token: int = processor.tokenizer.convert_tokens_to_ids(processor.boi_token)
        return token

    def tower(self, model: Any) -> VisionTower:
        tower = model.model.vision_tower
        return VisionTower(tower, [block.self_attn for block in tower.encoder.layers], None, has_cls=False)


FAMILY = Cohere2Vision()
