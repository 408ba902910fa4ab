"""LLaVA-NeXT (1.6): the whole picture, then the same enlarged, a line break after each row; a CLIP tower."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.models.llava_next.modeling_llava_next import (
    get_anyres_image_grid_shape,
    image_size_to_num_patches,
    unpad_image,
)

from wordsight.models.families.base import Grid, Region, VisionContext
from wordsight.models.families.llava import Llava


class LlavaNext(Llava):
    """model_type "llava_next", with any resolution. Its signals are LLaVA's, of each tile by itself; line
    breaks have zeros.
    """

    def grids(self, context: VisionContext) -> list[Grid]:
        side = context.config.vision_config.image_size // context.config.vision_config.patch_size
        found = []
        for image, size in enumerate(context.inputs["image_sizes"].tolist()):  # (height, width)
            rows, columns, region = enlarged(context.config, size)
            whole = Grid(image, 0, side, side)
            found += [whole, Grid(image, 1, rows, columns, region=region, row_breaks=True)]
        return found

    def arrange_signal(self, model: Any, context: VisionContext, signal: Tensor) -> Tensor:
        config, sizes = context.config, context.inputs["image_sizes"]
        tile, patches = config.vision_config.image_size, context.config.image_seq_length
        tiles = [image_size_to_num_patches(size, config.image_grid_pinpoints, tile) for size in sizes]
        rows = torch.split(signal.reshape(sum(tiles), patches, -1), tiles)  # (tiles, patches, C) each
        packed, _ = model.model.pack_image_features(
            rows, sizes, config.vision_feature_select_strategy, signal.new_zeros(rows[0].shape[-1])
        )
        return torch.cat(packed).reshape(-1, *signal.shape[1:])


def enlarged(config: Any, size: list[int]) -> tuple[int, int, Region]:
    """Rows and columns of the enlarged picture of `size` (height, width), as the model unpads it, and what
    they cover of the picture: only whole rows and columns of padding go, so that a little of it stays.
    """
    vision = config.vision_config
    side = vision.image_size // vision.patch_size
    down, across = get_anyres_image_grid_shape(size, config.image_grid_pinpoints, vision.image_size)
    padded = (down * side, across * side)
    kept = unpad_image(torch.zeros(1, *padded), size).shape[1:]
    scale = min(tokens / edge for tokens, edge in zip(padded, size, strict=True))
    beside = [(tokens / (edge * scale) - 1) / 2 for tokens, edge in zip(kept, size, strict=True)]
    return *kept, (-beside[1], -beside[0], 1 + beside[1], 1 + beside[0])


FAMILY = LlavaNext()
