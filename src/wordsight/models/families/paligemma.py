"""PaliGemma: one square grid per picture; the whole prompt is read in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from wordsight.models.families.base import Family
from wordsight.models.vision_tower import VisionTower


class PaliGemma(Family):
    """model_type "paligemma". It has no chat template: the question follows the pictures. Positions count
    from 1.
    """

    per_token = ("token_type_ids",)
    generated: ClassVar[Mapping[str, int]] = {"token_type_ids": 1}

    def is_causal(self, model: Any) -> bool:
        return False

    def tower(self, model: Any) -> VisionTower:
        tower = model.model.vision_tower
        return VisionTower(tower, [block.self_attn for block in tower.encoder.layers], None, has_cls=False)

    def positions(self, model: Any, inputs: Mapping[str, Any]) -> Tensor:
        return super().positions(model, inputs) + 1


FAMILY = PaliGemma()
