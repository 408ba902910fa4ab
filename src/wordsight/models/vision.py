"""Vision: what the vision tower makes of the media of a prompt, and the signals asked of it on the way."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from wordsight.errors import ModelError
from wordsight.models.families.base import Family, VisionContext, inner_model
from wordsight.models.finite import check_finite
from wordsight.models.processing import Processed
from wordsight.models.tokens import VisualTokens


def encode_images(model: Any, family: Family, processed: Processed, signals: frozenset[str]) -> VisualTokens:
    """The visual tokens of the media that were processed, with the tower's signals named."""
    inputs = processed.inputs
    encode, given = find_encoder(model, processed)
    collected: Mapping[str, Tensor] = {}
    with ExitStack() as hooks:
        if signals and (tower := family.tower(model)):
            collected = hooks.enter_context(tower.collect_signals())
        output = encode(**given, return_dict=True)
    if output.pooler_output is None:
        raise ModelError(
            f"{type(model).__name__} ({model.config.model_type}) does not return visual tokens where others "
            "do (pooler_output), so that wordsight cannot take them"
        )
    features = _items(output.pooler_output)
    embeds = torch.cat(features)  # (N, D)
    is_read = family.is_read(inputs)
    placeholders = int(processed.is_visual(model.config).sum())
    check_count(placeholders, len(embeds) if is_read is None else int(is_read.sum()))
    check_finite(f"{type(model).__name__} ({model.config.model_type})", {"its visual tokens": embeds}, model)
    media = processed.media
    sizes = [frame.size for frame in media.frames]
    context = VisionContext(
        model.config, processed.processor, inputs, features, sizes, is_video=bool(media.videos)
    )
    grids = family.grids(context)
    cells = [cell for grid in grids for cell in grid.cells()]
    boxes = [box for grid in grids for box in grid.boxes()]
    if len(cells) != len(embeds):
        raise ModelError(
            f"{type(model).__name__} ({model.config.model_type}): the picture map has {len(cells)} tokens, "
            f"the model made {len(embeds)}; is the processor the one of this model?"
        )
    tokens = VisualTokens(
        embeds,
        torch.arange(len(embeds), device=embeds.device),
        torch.tensor(cells, device=embeds.device).reshape(-1, 4),
        tuple(torch.cat(_items(layer)) for layer in getattr(output, "deepstack_features", None) or ()),
        {name: family.arrange_signal(model, context, collected[name]) for name in sorted(signals)},
        not isinstance(output.pooler_output, Tensor),
        torch.tensor(boxes, device=embeds.device).reshape(-1, 4) if family.has_picture_map else None,
    )
    if is_read is None:
        return tokens
    tokens = tokens.take(is_read.nonzero()[:, 0].to(embeds.device))
    return replace(tokens, slot=torch.arange(len(tokens), device=embeds.device))


def find_encoder(model: Any, processed: Processed) -> tuple[Any, dict[str, Any]]:
    """What makes visual tokens of the media, and what it is given of the inputs.

    Raises ModelError if that is not known.
    """
    inputs = processed.inputs
    made = "video" if "pixel_values_videos" in inputs else "image"  # whatever its placeholders are called
    encode = getattr(inner_model(model), f"get_{made}_features", None)
    takes = inspect.signature(encode).parameters if encode else {}
    needed = [
        one.name for one in takes.values() if one.default is one.empty and one.kind is not one.VAR_KEYWORD
    ]
    if not takes or not all(name in inputs for name in needed):
        kind = "videos" if processed.media.videos else "pictures"
        raise ModelError(
            f"{type(model).__name__} ({model.config.model_type}) takes {kind} in a way that wordsight "
            f"does not know: its processor made {', '.join(inputs)}"
        )
    given = {
        name: inputs[name].to(model.dtype) if inputs[name].is_floating_point() else inputs[name]
        for name in takes
        if name in inputs
    }
    return encode, given


def check_count(placeholders: int, tokens: int) -> None:
    """Raises ModelError if the prompt has not as many placeholders as there are visual tokens."""
    if placeholders != tokens:
        raise ModelError(
            f"the prompt has {placeholders} image placeholders for {tokens} visual tokens; is the processor, "
            "with its chat template, the one of this model?"
        )


def _items(output: Any) -> list[Tensor]:
    """(N_i, D) features of every item, of the containers that the families return: lists and tensors."""
    if isinstance(output, Tensor) and output.ndim == 2:
        return [output]
    return [item.reshape(-1, item.shape[-1]) for item in output]
