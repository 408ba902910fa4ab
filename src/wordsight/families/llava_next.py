"""LLaVA-NeXT (1.6): the whole picture, then the same enlarged, a line break after each row."""

from __future__ import annotations

from typing import Any

import torch
from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape, unpad_image

from wordsight.families.base import Family, Grid, Region, Seen


class LlavaNext(Family):
    """model_type "llava_next", with any resolution."""

    def grids(self, seen: Seen) -> list[Grid]:
        side = seen.config.vision_config.image_size // seen.config.vision_config.patch_size
        found = []
        for image, size in enumerate(seen.inputs["image_sizes"].tolist()):  # (height, width)
            rows, columns, region = enlarged(seen.config, size)
            whole = Grid(image, 0, side, side)
            found += [whole, Grid(image, 1, rows, columns, region=region, row_breaks=True)]
        return found


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
