"""LLaVA-OneVision: one picture with any resolution; several, or the frames of a video, as they are."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from wordsight.errors import UsageError
from wordsight.models.families.base import Grid, Seen, square_of, square_side
from wordsight.models.families.llava import Llava
from wordsight.models.families.llava_next import enlarged


class LlavaOnevision(Llava):
    """model_type "llava_onevision".

    A single picture has a line break after each row of the enlarged one; each of several pictures, padded to
    squares, and a whole video, ends in one. Frames are pooled 2x2.
    """

    def grids(self, seen: Seen) -> list[Grid]:
        vision = seen.config.vision_config
        side = vision.image_size // vision.patch_size
        if seen.is_video:
            return self._video(seen)
        if len(seen.sizes) > 1:
            regions = [square_of(size, inside=False) for size in seen.sizes]  # padded to a square
            return [
                Grid(image, 0, side, side, region=region, end_break=True)
                for image, region in enumerate(regions)
            ]
        *unpadded, region = enlarged(seen.config, seen.inputs["image_sizes"][0].tolist())
        rows, columns = self._shrunk(seen.config, *unpadded)
        return [Grid(0, 0, side, side), Grid(0, 1, rows, columns, region=region, row_breaks=True)]

    def arranged(self, model: Any, seen: Seen, signal: Tensor) -> Tensor:
        config = seen.config
        side = config.vision_config.image_size // config.vision_config.patch_size
        rows = signal.reshape(-1, side**2, signal[0].numel())  # (tiles, patches, C)
        newline = rows.new_zeros(rows.shape[-1])
        if seen.is_video:
            frames = model.model.apply_pooling(rows).flatten(0, 1)
            return torch.cat([frames, newline[None]]).reshape(-1, *signal.shape[1:])
        tiles = [1] * len(seen.sizes) if len(seen.sizes) > 1 else [len(rows)]
        packed, _ = model.model.pack_image_features(
            torch.split(rows, tiles), seen.inputs["image_sizes"], newline, config.vision_aspect_ratio
        )
        return torch.cat(list(packed)).reshape(-1, *signal.shape[1:])

    def _video(self, seen: Seen) -> list[Grid]:
        if len(seen.counts) > 1:
            raise UsageError(f"LLaVA-OneVision reads one video a question, got {len(seen.counts)}")
        frames = len(seen.sizes)
        side = square_side((seen.counts[0] - 1) // frames)
        found = [Grid(frame, 0, side, side) for frame in range(frames)]
        return [*found, Grid(-1, -1, 0, 0, end_break=True)]

    @staticmethod
    def _shrunk(config: Any, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns after pictures of too many tokens are scaled down ("anyres_max_9")."""
        side = config.vision_config.image_size // config.vision_config.patch_size
        most = int(config.vision_aspect_ratio.removeprefix("anyres_max_"))
        ratio = math.sqrt(rows * columns / (most * side**2))
        return (int(rows // ratio), int(columns // ratio)) if ratio > 1.1 else (rows, columns)


FAMILY = LlavaOnevision()
