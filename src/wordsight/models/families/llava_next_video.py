"""LLaVA-NeXT-Video: pictures as LLaVA-NeXT; frames and their signals pooled 2x2, without line breaks."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from wordsight.models.families.base import Grid, Seen, square_of, square_side
from wordsight.models.families.llava_next import LlavaNext


class LlavaNextVideo(LlavaNext):
    """model_type "llava_next_video"."""

    def grids(self, seen: Seen) -> list[Grid]:
        if not seen.is_video:
            return super().grids(seen)
        side = square_side(sum(seen.counts) // len(seen.sizes))
        crops = seen.processor.video_processor.do_center_crop
        return [
            Grid(frame, 0, side, side, region=square_of(size, inside=True) if crops else (0, 0, 1, 1))
            for frame, size in enumerate(seen.sizes)
        ]

    def arranged(self, model: Any, seen: Seen, signal: Tensor) -> Tensor:
        if not seen.is_video:
            return super().arranged(model, seen, signal)
        side = square_side(len(signal) // len(seen.sizes)) // 2
        return (
            signal.reshape(len(seen.sizes), side, 2, side, 2, -1).mean((2, 4)).reshape(-1, *signal.shape[1:])
        )


FAMILY = LlavaNextVideo()
