"""VideoLLaMA 3: pictures of any size in one grid; of a film, tokens like those of the frame before go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from wordsight.models.families.base import Family, VisionContext
from wordsight.models.families.qwen2_vl import Qwen2VL
from wordsight.models.vision_tower import PackedVisionTower


class VideoLlama3(Qwen2VL):
    """model_type "video_llama_3". Its positions are 1-D."""

    def merged(self, context: VisionContext) -> int:
        kind = "video" if context.is_video else "image"
        return int(context.inputs[f"{kind}_merge_sizes"][0])

    def tower(self, model: Any) -> PackedVisionTower:
        tower = model.model.vision_model
        return PackedVisionTower(tower, [block.self_attn for block in tower.encoder.layers])

    def is_read(self, context: VisionContext) -> Tensor | None:
        mask: Tensor | None = context.inputs.get("video_compression_mask") if context.is_video else None
        return mask

    def projector(self, model: Any) -> nn.Module:
        projector: nn.Module = model.model.projector
        return projector

    def positions(self, model: Any, inputs: Mapping[str, Any]) -> Tensor:
        return Family.positions(self, model, inputs)


FAMILY = VideoLlama3()
