"""LLaVA-NeXT-Video: pictures as LLaVA-NeXT, and frames of a video pooled 2x2, without line breaks."""

from __future__ import annotations

from wordsight.families.base import Grid, Seen, square_side
from wordsight.families.llava_next import LlavaNext


class LlavaNextVideo(LlavaNext):
    """model_type "llava_next_video"."""

    def grids(self, seen: Seen) -> list[Grid]:
        if not seen.is_video:
            return super().grids(seen)
        frames = len(seen.sizes)
        side = square_side(sum(seen.counts) // frames)
        return [Grid(frame, 0, side, side) for frame in range(frames)]


FAMILY = LlavaNextVideo()
