"""LLaVA-NeXT-Video: pictures as LLaVA-NeXT, and frames of a video pooled 2x2, without line breaks."""

from __future__ import annotations

from wordsight.families.base import Grid, Seen, square_of, square_side
from wordsight.families.llava_next import LlavaNext


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


FAMILY = LlavaNextVideo()
