"""LLaVA-OneVision: one picture with any resolution; several, or the frames of a video, as they are."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from transformers.models.llava_onevision.modeling_llava_onevision import image_size_to_num_patches

from wordsight.errors import UsageError
from wordsight.models.families.base import Grid, VisionContext, square_of, square_side
from wordsight.models.families.llava import Llava
from wordsight.models.families.llava_next import enlarged


class LlavaOnevision(Llava):
    """model_type "llava_onevision".

    A single picture has a line break after each row of the enlarged one; each of several pictures, padded to
    squares, and a whole video, ends in one. Frames are pooled 2x2.
    """

    def grids(self, context: VisionContext) -> list[Grid]:
        vision = context.config.vision_config
        side = vision.image_size // vision.patch_size
        if context.is_video:
            return self._video(context)
        if len(context.features) > 1:
            sizes = [(width, height) for height, width in context.inputs["image_sizes"].tolist()]
            regions = [square_of(size, inside=False) for size in sizes]  # padded to a square
            return [
                Grid(image, 0, side, side, region=region, end_break=True)
                for image, region in enumerate(regions)
            ]
        *unpadded, region = enlarged(context.config, context.inputs["image_sizes"][0].tolist())
        rows, columns = self._shrunk(context.config, *unpadded)
        return [Grid(0, 0, side, side), Grid(0, 1, rows, columns, region=region, row_breaks=True)]

    def arrange_signal(self, model: Any, context: VisionContext, signal: Tensor) -> Tensor:
        config = context.config
        side = config.vision_config.image_size // config.vision_config.patch_size
        rows = signal.reshape(-1, side**2, signal[0].numel())  # (tiles, patches, C)
        newline = rows.new_zeros(rows.shape[-1])
        if context.is_video:
            frames = model.model.apply_pooling(rows)  # (frames, tokens, C)
            videos = frames.reshape(len(context.features), -1, frames.shape[-1])
            ends = newline.expand(len(videos), 1, -1)
            return torch.cat([videos, ends], 1).reshape(-1, *signal.shape[1:])
        sizes = context.inputs["image_sizes"]
        packed, _ = model.model.pack_image_features(
            torch.split(rows, _tiles(context)), sizes, newline, config.vision_aspect_ratio
        )
        return torch.cat(list(packed)).reshape(-1, *signal.shape[1:])

    def _video(self, context: VisionContext) -> list[Grid]:
        if len(context.counts) > 1:
            raise UsageError(f"LLaVA-OneVision reads one video a question, got {len(context.counts)}")
        frames = context.frames
        side = square_side((context.counts[0] - 1) // frames)
        found = [Grid(frame, 0, side, side) for frame in range(frames)]
        return [*found, Grid(-1, -1, 0, 0, end_break=True)]

    @staticmethod
    def _shrunk(config: Any, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns after pictures of too many tokens are scaled down ("anyres_max_9")."""
        side = config.vision_config.image_size // config.vision_config.patch_size
        most = int(config.vision_aspect_ratio.removeprefix("anyres_max_"))
        ratio = math.sqrt(rows * columns / (most * side**2))
        return (int(rows // ratio), int(columns // ratio)) if ratio > 1.1 else (rows, columns)


def _tiles(context: VisionContext) -> list[int]:
    """How many tiles each picture of a batch is read in: one, if it is one of several in its row."""
    config = context.config
    tile, pinpoints = config.vision_config.image_size, config.image_grid_pinpoints
    sizes = context.inputs["image_sizes"].tolist()
    rows = context.inputs.get("batch_num_images", [1] * len(sizes))
    alone = [int(count) == 1 for count in rows for _ in range(int(count))]
    return [
        image_size_to_num_patches(size, pinpoints, tile) if is_alone else 1
        for size, is_alone in zip(sizes, alone, strict=True)
    ]


FAMILY = LlavaOnevision()
