"""Qwen2.5-VL: as Qwen2-VL; positions in time are seconds, and its tower reads a picture window by window."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wordsight.models.families.base import VisionContext
from wordsight.models.families.qwen2_vl import Qwen2VL


class Qwen25VL(Qwen2VL):
    """model_type "qwen2_5_vl". Most layers of its tower attend within windows, the first one too: what
    `cls_attention_first` compares are the patches of one window.
    """

    def arrange_signal(self, model: Any, context: VisionContext, signal: Tensor) -> Tensor:
        """Signals leave the tower window by window, tokens picture by picture and row by row."""
        vision = context.config.vision_config
        side = vision.window_size // vision.spatial_merge_size // vision.patch_size  # of a window, in tokens
        cells = [cell for grid in self.grids(context) for cell in grid.cells()]
        windows = [(image, row // side, column // side) for image, _, row, column in cells]
        order = sorted(range(len(windows)), key=windows.__getitem__)  # row by row inside a window
        merged = super().arrange_signal(model, context, signal)
        return merged[torch.tensor(order, device=merged.device).argsort()]


FAMILY = Qwen25VL()
