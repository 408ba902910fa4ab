"""LFM2-VL: tiles as Idefics3, a whole picture in its own shape; a language model of convolutions."""

from __future__ import annotations

from typing import Any

from torch import nn

from wordsight.models.families.base import VisionContext
from wordsight.models.families.idefics3 import Idefics3
from wordsight.models.vision_tower import VisionTower


class Lfm2Vl(Idefics3):
    """model_type "lfm2_vl". wordsight reads no signals of its tower, which pads pictures."""

    is_recurrent = True

    def shapes(self, context: VisionContext) -> list[tuple[int, int]]:
        factor = context.config.downsample_factor
        return [
            (rows // factor, columns // factor) for rows, columns in context.inputs["spatial_shapes"].tolist()
        ]

    def tower(self, model: Any) -> VisionTower | None:
        return None

    def projector(self, model: Any) -> nn.Module:
        projector: nn.Module = model.model.multi_modal_projector
        return projector


FAMILY = Lfm2Vl()
