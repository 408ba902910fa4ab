"""LLaVA 1.5: one square grid of tokens per image, read row by row; a CLIP, SigLIP or Pixtral tower."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wordsight.models.families import mistral3
from wordsight.models.families.base import Family, Grid, VisionContext, square_of
from wordsight.models.vision_tower import VisionTower


class Llava(Family):
    """model_type "llava". With a Pixtral tower a picture has its own shape, as in Mistral Small 3.1.

    Its tower gives signals if one of its layers is projected, without its [CLS] if it has one.
    """

    def grids(self, context: VisionContext) -> list[Grid]:
        if is_pixtral(context.config):
            return mistral3.FAMILY.grids(context)
        grids = super().grids(context)
        if not getattr(context.processor.image_processor, "do_center_crop", False):
            return grids
        regions = [square_of(size, inside=True) for size in context.sizes_of(len(grids))]
        return [replace(grid, region=region) for grid, region in zip(grids, regions, strict=True)]

    def tower(self, model: Any) -> VisionTower | None:
        config = model.config
        if is_pixtral(config):
            return mistral3.FAMILY.tower(model)
        kind, layer = config.vision_config.model_type, config.vision_feature_layer
        strategy = {"clip_vision_model": "default", "siglip_vision_model": "full"}.get(kind)
        if not isinstance(layer, int) or config.vision_feature_select_strategy != strategy:
            return None
        tower = model.model.vision_tower
        attentions = [block.self_attn for block in tower.encoder.layers]
        return VisionTower(tower, attentions, layer, has_cls=strategy == "default")


def is_pixtral(config: Any) -> bool:
    """Whether the vision tower of this config is Pixtral's."""
    return bool(config.vision_config.model_type == "pixtral")


FAMILY = Llava()
