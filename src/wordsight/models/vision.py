"""Vision: what the vision tower makes of the media of a batch, and the signals asked of it on the way."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from wordsight.errors import ModelError
from wordsight.models.families.base import Family, Size, VisionContext, inner_model
from wordsight.models.finite import check_finite
from wordsight.models.offloading import input_device
from wordsight.models.rows import MODALITIES, Row, items_of_rows, with_items
from wordsight.models.tokens import VisualTokens, join_tokens


@dataclass(frozen=True)
class Seeing:
    """A model that sees: what is needed to make visual tokens of what its processor returned.

    sizes   width and height of the pictures, or of the frames of all videos, where they are known.
    """

    model: Any
    family: Family
    processor: Any
    sizes: Sequence[Size] | None = None

    @property
    def name(self) -> str:
        """What errors call the model."""
        return f"{type(self.model).__name__} ({self.model.config.model_type})"


def encode_images(
    seeing: Seeing, rows: Sequence[Row], signals: frozenset[str]
) -> list[tuple[Row, VisualTokens]]:
    """Each row of a batch, now with its own media alone, and its visual tokens, with the tower's signals
    named; the tower runs once for all pictures, and once for all videos.
    """
    own = list(rows)
    parts: list[dict[str, VisualTokens]] = [{} for _ in rows]
    for modality in MODALITIES:
        if not any(row.placeholders(modality) for row in rows):
            continue
        for number, (row, tokens) in enumerate(_of_modality(seeing, own, modality, signals)):
            own[number] = row
            if len(tokens):
                parts[number][modality] = tokens
    return [(row, _in_reading_order(seeing, row, found)) for row, found in zip(own, parts, strict=True)]


def _of_modality(
    seeing: Seeing, rows: Sequence[Row], modality: str, signals: frozenset[str]
) -> Iterator[tuple[Row, VisualTokens]]:
    """Each row with its own pictures, or videos, and their visual tokens; of a row without, none."""
    model, family, inputs = seeing.model, seeing.family, rows[0].inputs
    encode, given = find_encoder(model, inputs, modality)
    made = made_of(inputs, modality)
    collected: Mapping[str, Tensor] = {}
    with ExitStack() as hooks:
        if signals and (tower := family.tower(model)):
            collected = hooks.enter_context(tower.collect_signals(signals))
        output = encode(**given, return_dict=True)
    projected = family.encoded(model, output)
    if projected is None:
        raise ModelError(
            f"{seeing.name} projects visual tokens inside its forward pass and takes none that are "
            "projected, so that wordsight can give it no others; take a model of another type"
        )
    features = _items(projected)
    check_finite(seeing.name, {"its visual tokens": torch.cat(features)}, model)
    sizes = seeing.sizes if len(rows) == 1 else None
    whole = VisionContext(model.config, seeing.processor, inputs, features, sizes, made == "video")
    arranged = {name: family.arrange_signal(model, whole, collected[name]) for name in sorted(signals)}
    deep = [torch.cat(_items(layer)) for layer in getattr(output, "deepstack_features", None) or ()]
    is_read, counts = family.is_read(whole), whole.counts
    if is_read is not None:
        counts = [int(item.sum()) for item in torch.split(is_read, counts)]
    start = 0
    for row, items in zip(rows, items_of_rows(rows, modality, counts), strict=True):
        own = row if len(rows) == 1 else with_items(row, made, items, len(features))
        end = start + sum(whole.counts[items])
        context = replace(whole, inputs=own.inputs, features=features[items])
        tokens = replace(
            _mapped(seeing, context),
            deep=tuple(layer[start:end] for layer in deep),
            signals={name: signal[start:end] for name, signal in arranged.items()},
            listed=not isinstance(projected, Tensor),
            marks=getattr(output, "visual_indicator_features", None),
        )
        yield own, tokens if is_read is None else _only(tokens, is_read[start:end])
        start = end


def _only(tokens: VisualTokens, is_read: Tensor) -> VisualTokens:
    """Those of the tokens that the prompt has a placeholder for."""
    found = tokens.take(is_read.to(tokens.slot.device).nonzero()[:, 0])
    return replace(found, slot=tokens.slot[: len(found)])


def _mapped(seeing: Seeing, context: VisionContext) -> VisualTokens:
    """Visual tokens, and which part of which picture each of them is."""
    if not context.features:
        return _none(seeing.model)
    embeds = torch.cat(list(context.features))  # (N, D)
    grids = seeing.family.grids(context)
    cells = [cell for grid in grids for cell in grid.cells()]
    if len(cells) != len(embeds):
        raise ModelError(
            f"{seeing.name}: the picture map has {len(cells)} tokens, the model made {len(embeds)}; is the "
            "processor the one of this model?"
        )
    is_known = seeing.family.has_picture_map and all(grid.region is not None for grid in grids)
    boxes = [box for grid in grids for box in grid.boxes()] if is_known else None
    return VisualTokens(
        embeds,
        torch.arange(len(embeds), device=embeds.device),
        torch.tensor(cells, device=embeds.device).reshape(-1, 4),
        box=None if boxes is None else torch.tensor(boxes, device=embeds.device).reshape(-1, 4),
        is_video=torch.full((len(embeds),), context.is_video, device=embeds.device),
    )


def _none(model: Any) -> VisualTokens:
    """The visual tokens of a text."""
    index = torch.empty(0, dtype=torch.long, device=input_device(model))
    width = model.config.get_text_config().hidden_size
    embeds = torch.empty(0, width, dtype=model.dtype, device=index.device)
    return VisualTokens(embeds, index, index.reshape(0, 4))


def _in_reading_order(seeing: Seeing, row: Row, parts: Mapping[str, VisualTokens]) -> VisualTokens:
    """The tokens of a row's pictures and of its videos as the row holds them; frames count after pictures."""
    if not parts:
        return _none(seeing.model)
    if len(parts) == 1:
        return next(iter(parts.values()))
    pictures, frames = (parts[modality] for modality in MODALITIES)
    if pictures.listed != frames.listed:
        raise ModelError(f"{seeing.name} cannot be given pictures and videos in one prompt; take one kind")
    of = row.of[row.is_visual]
    slots = [(of == number).nonzero()[:, 0] for number in range(len(MODALITIES))]
    later = frames.cell.clone()
    later[frames.cell[:, 0] >= 0, 0] += pictures.cell[:, 0].max() + 1
    return join_tokens(replace(pictures, slot=slots[0]), replace(frames, slot=slots[1], cell=later))


def find_encoder(model: Any, inputs: Mapping[str, Any], modality: str) -> tuple[Any, dict[str, Any]]:
    """What makes visual tokens of pictures or videos, and what it is given of the inputs.

    Raises ModelError if that is not known.
    """
    inner, made = inner_model(model), made_of(inputs, modality)
    encode = getattr(inner, f"get_{made}_features", None)
    if made == "video" and encode is None and "pixel_values_videos" in inputs:  # frames are pictures to it
        encode = getattr(inner, "get_image_features", None)
        inputs = {"pixel_values": inputs["pixel_values_videos"]}
    takes = inspect.signature(encode).parameters if encode else {}
    needed = [
        one.name for one in takes.values() if one.default is one.empty and one.kind is not one.VAR_KEYWORD
    ]
    if not takes or not all(name in inputs for name in needed):
        kind = "videos" if modality == "video" else "pictures"
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


def made_of(inputs: Mapping[str, Any], modality: str) -> str:
    """What tokens at placeholders of a modality are made of: GLM puts films at placeholders of pictures."""
    is_film = "pixel_values" not in inputs and "pixel_values_videos" in inputs
    return "video" if is_film else modality


def _items(output: Any) -> list[Tensor]:
    """(N_i, D) features of every item, of the containers that the families return: lists and tensors."""
    if isinstance(output, Tensor) and output.ndim == 2:
        return [output]
    return [item.reshape(-1, item.shape[-1]) for item in output]
