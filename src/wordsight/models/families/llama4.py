"""Llama 4: tiles of the picture, padded on the right and below, row by row; then the whole one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from wordsight.errors import ModelError
from wordsight.models.families.base import Family, Grid, Region, Size, VisionContext, square_side
from wordsight.models.families.internvl import tiled


class Llama4(Family):
    """model_type "llama4". Signals are not read of its tower, whose [CLS] token is the last one."""

    takes_beams = False

    def prepare(self, model: Any) -> None:
        """The model projects what it is given in place of pictures: from now on only what is not projected,
        which is told by its width. Raises ModelError if it cannot be.
        """
        projector, width = self.projector(model), model.config.get_text_config().hidden_size
        if model.config.vision_config.vision_output_dim == width:
            raise ModelError(
                f"{type(model).__name__} (llama4) has visual tokens of {width} values before and after they "
                "are projected, so that wordsight cannot tell which they are; take a model of another type"
            )
        if getattr(projector.forward, "func", None) is not _project:
            projector.forward = partial(_project, projector.forward, width)
            model.language_model.register_forward_hook(_with_image_outputs)

    def encoded(self, model: Any, output: Any) -> Tensor:
        states = output.last_hidden_state  # (tiles, n, C)
        projected: Tensor = self.projector(model)(states.flatten(0, 1))  # as the model does it
        return projected.view(*states.shape[:2], -1)

    def projector(self, model: Any) -> nn.Module:
        projector: nn.Module = model.multi_modal_projector
        return projector

    def grids(self, context: VisionContext) -> list[Grid]:
        side = square_side(context.counts[0])
        ids, processor = context.inputs["input_ids"][0], context.processor
        begin, row_end = processor.tokenizer.convert_tokens_to_ids(
            [processor.start_of_img_token, processor.tile_global_token]
        )
        picture = (ids == begin).cumsum(0)  # (L,) the number, from 1, of the picture that came last
        found: list[Grid] = []
        for image, size in enumerate(context.sizes_of(int(picture.max()))):
            own = ids[picture == image + 1]
            tiles, rows = (
                int((own == context.config.image_token_id).sum()) // side**2,
                int((own == row_end).sum()),
            )
            region = None if size is None else _padded(processor.image_processor, size)
            if tiles == 1:
                found.append(Grid(image, 0, side, side, region=region))
                continue
            *parts, whole = tiled(image, side, (tiles - 1) // rows, rows)
            found += [*(replace(part, region=region) for part in parts), whole]
        return found


def _project(project: Callable[[Tensor], Tensor], width: int, features: Tensor) -> Tensor:
    """Features in the language model's space, those of its width as they are."""
    return features if features.shape[-1] == width else project(features)


def _with_image_outputs(module: Any, given: Any, output: Any) -> None:
    """transformers 5.24 asks what the language model returns for them, which has none, and fails."""
    if not isinstance(output, tuple) and not hasattr(output, "image_outputs"):
        output.image_outputs = None


def _padded(pixels: Any, size: Size) -> Region:
    """What all tiles cover of a picture: it lies in their upper left corner."""
    # Its file of the processor needs torchvision, as the processor itself.
    from transformers.models.llama4 import image_processing_llama4 as source

    shape = size[::-1]
    resolutions = torch.tensor(source.find_supported_resolutions(pixels.max_patches, pixels.size))
    canvas = source.get_best_fit(shape, resolutions, pixels.resize_to_max_canvas).tolist()
    room = canvas
    if not pixels.resize_to_max_canvas:
        room = [min(max(edge, pixels.size.height), most) for edge, most in zip(shape, canvas, strict=True)]
    height, width = source.get_max_res_without_distortion(shape, room)
    return 0, 0, canvas[1] / max(width, 1), canvas[0] / max(height, 1)


FAMILY = Llama4()
