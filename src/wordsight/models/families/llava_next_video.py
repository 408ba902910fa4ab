"""LLaVA-NeXT-Video: pictures as LLaVA-NeXT; frames and their signals pooled 2x2, without line breaks."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from wordsight.models.families.base import Grid, VisionContext, square_of, square_side
from wordsight.models.families.llava_next import LlavaNext


class LlavaNextVideo(LlavaNext):
    """model_type "llava_next_video"."""

    def grids(self, context: VisionContext) -> list[Grid]:
        if not context.is_video:
            return super().grids(context)
        side = square_side(sum(context.counts) // context.frames)
        crops = context.processor.video_processor.do_center_crop
        return [
            Grid(frame, 0, side, side, region=square_of(size, inside=True) if crops else (0, 0, 1, 1))
            for frame, size in enumerate(context.sizes_of(context.frames))
        ]

    def arrange_signal(self, model: Any, context: VisionContext, signal: Tensor) -> Tensor:
        if not context.is_video:
            return super().arrange_signal(model, context, signal)
        side = square_side(len(signal) // context.frames) // 2
        return (
            signal.reshape(context.frames, side, 2, side, 2, -1).mean((2, 4)).reshape(-1, *signal.shape[1:])
        )


FAMILY = LlavaNextVideo()
