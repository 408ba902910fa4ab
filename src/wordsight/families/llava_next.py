"""LLaVA-NeXT (1.6): the whole picture, then the same enlarged, a line break after each row."""

from __future__ import annotations

import torch
from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape, unpad_image

from wordsight.families.base import Family, Grid, Seen


class LlavaNext(Family):
    """model_type "llava_next", with any resolution."""

    def grids(self, seen: Seen) -> list[Grid]:
        side = seen.config.vision_config.image_size // seen.config.vision_config.patch_size
        found = []
        for image, size in enumerate(seen.inputs["image_sizes"].tolist()):  # (height, width)
            rows, columns = enlarged(seen.config, size)
            found += [Grid(image, 0, side, side), Grid(image, 1, rows, columns, row_breaks=True)]
        return found


def enlarged(config: object, size: list[int]) -> tuple[int, int]:
    """Rows and columns of the enlarged picture of `size` (height, width), as the model unpads it."""
    vision = config.vision_config  # type: ignore[attr-defined]  # transformers is untyped here
    side = vision.image_size // vision.patch_size
    pinpoints = config.image_grid_pinpoints  # type: ignore[attr-defined]
    down, across = get_anyres_image_grid_shape(size, pinpoints, vision.image_size)
    rows, columns = unpad_image(torch.zeros(1, down * side, across * side), size).shape[1:]
    return rows, columns


FAMILY = LlavaNext()
