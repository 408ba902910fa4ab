"""Aya Vision: tiles of the enlarged picture, row by row, each after a tag, then the whole one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wordsight.models.families import llava
from wordsight.models.families.base import VisionContext
from wordsight.models.families.internvl import InternVL
from wordsight.models.vision_tower import VisionTower, mean_pooled


class AyaVision(InternVL):
    """model_type "aya_vision"."""

    def tiles(self, context: VisionContext) -> list[int]:
        """Every run of placeholders is a tile, after the mark with which its picture begins."""
        ids = context.inputs["input_ids"][0]
        begins = (ids == self.begin(context.processor)).nonzero()[:, 0]
        runs = [start for start, _ in context.runs(context.config.image_token_id)]
        owner = torch.searchsorted(begins, torch.tensor(runs, device=begins.device))
        return [int((owner == number).sum()) for number in range(1, len(begins) + 1)]

    def begin(self, processor: Any) -> int:
        """The token with which a picture begins."""
        token: int = processor.tokenizer.convert_tokens_to_ids(processor.start_of_img_token)
        return token

    def tower(self, model: Any) -> VisionTower | None:
        return llava.FAMILY.tower(model)

    def arrange_signal(self, model: Any, context: VisionContext, signal: Tensor) -> Tensor:
        vision = context.config.vision_config
        return mean_pooled(signal, context.config.downsample_factor, vision.image_size // vision.patch_size)


FAMILY = AyaVision()
