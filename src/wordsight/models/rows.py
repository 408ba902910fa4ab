"""Rows: what belongs to each row of a batch that a processor made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from wordsight.errors import ModelError, UsageError, shown

MODALITIES = ("image", "video")  # under which a model takes media
PIXELS = ("pixel_values", "pixel_values_videos")  # what processors call the media themselves


@dataclass(frozen=True)
class Row:
    """A row of a batch without its padding.

    inputs   what belongs to it, by name, as a batch of one.
    of       (L,) of which modality each token is a placeholder, as an index into MODALITIES; -1 is text.
    """

    inputs: Mapping[str, Any]
    of: Tensor

    @property
    def ids(self) -> Tensor:
        """(L,) the token ids."""
        ids: Tensor = self.inputs["input_ids"][0]
        return ids

    @property
    def is_visual(self) -> Tensor:
        """(L,) which tokens are placeholders of visual tokens."""
        return self.of >= 0

    def placeholders(self, modality: str) -> int:
        """How many tokens are placeholders of this modality."""
        return int((self.of == MODALITIES.index(modality)).sum())


def split_rows(config: Any, inputs: Mapping[str, Any]) -> list[Row]:
    """The rows of a batch that is padded on either side; media are still those of the whole batch.

    Raises UsageError if these are no inputs of a batch, ModelError if no token of it is a placeholder of the
    media that are there.
    """
    ids = inputs.get("input_ids")
    if not isinstance(ids, Tensor) or ids.ndim != 2:
        raise UsageError(
            "inputs must be what a processor returns for a batch, with input_ids as a tensor (rows, tokens); "
            "call the processor with text=[...] and return_tensors='pt'"
        )
    for name in ("attention_mask", "labels"):
        given = inputs.get(name)
        if given is not None and (not isinstance(given, Tensor) or given.shape != ids.shape):
            got = f"shape {tuple(given.shape)}" if isinstance(given, Tensor) else shown(given)
            raise UsageError(
                f"{name} must be a tensor, one number for each token, of shape {tuple(ids.shape)}; got {got}"
            )
    mask = inputs.get("attention_mask")
    rows = []
    for number in range(len(ids)):
        stays = slice(None) if mask is None else mask[number].bool()
        own = {
            name: value[number : number + 1][:, stays] if _is_per_token(value, ids) else value
            for name, value in inputs.items()
        }
        rows.append(Row(own, _modality_of(config, own["input_ids"][0])))
    media = [inputs[name] for name in PIXELS if inputs.get(name) is not None]
    if any(map(len, media)) and not any(row.is_visual.any() for row in rows):
        raise ModelError(
            "there are pictures or videos, and no placeholder of them in any prompt: was the prompt cut, and "
            "is the processor, with its chat template, the one of this model?"
        )
    return rows


def _is_per_token(value: Any, ids: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == ids.shape and not value.is_floating_point()


def _modality_of(config: Any, ids: Tensor) -> Tensor:
    found = torch.full_like(ids, -1)
    for number, modality in reversed(list(enumerate(MODALITIES))):  # where both have one token, it is "image"
        token = getattr(config, f"{modality}_token_id", None)
        if token is not None:
            found[ids == token] = number
    return found


def items_of_rows(rows: Sequence[Row], modality: str, counts: Sequence[int]) -> list[slice]:
    """Which items of a batch (pictures, tiles or videos), of so many tokens each, every row holds.

    Raises ModelError if the placeholders of the rows are not those of whole items.
    """
    found, start = [], 0
    for row in rows:
        end, missing = start, row.placeholders(modality)
        while missing > 0 and end < len(counts):
            missing -= counts[end]
            end += 1
        found.append(slice(start, end))
        start = end
        if missing:
            break
    placeholders = sum(row.placeholders(modality) for row in rows)
    if len(found) < len(rows) or start < len(counts) or placeholders != sum(counts):
        check_count(placeholders, sum(counts))
        raise ModelError(
            f"the placeholders of a row end within a {modality}: is the processor, with its chat template, "
            "the one of this model?"
        )
    return found


def with_items(row: Row, modality: str, items: slice, total: int) -> Row:
    """The row with its own of what the batch has for every item of a modality, of `total` ones.

    Of what the batch has otherwise, as frames padded to the longest, a row of several keeps nothing.
    """
    inputs = {}
    frames = torch.as_tensor(row.inputs.get("num_frames_per_video", [])).tolist()
    for name, value in row.inputs.items():
        if _modality_of_name(name) != modality:
            inputs[name] = value
        elif hasattr(value, "__len__") and len(value) == total:
            inputs[name] = value[items]
        elif isinstance(value, Tensor) and value.ndim > 4 and value.shape[:2].numel() == total:
            each = value.shape[1]  # tiles or frames, as many of every picture or film
            inputs[name] = value[items.start // each : items.stop // each]
        elif frames and len(value) == sum(frames):  # one after another, whatever film they are of
            inputs[name] = value[sum(frames[: items.start]) : sum(frames[: items.stop])]
    return replace(row, inputs=inputs)


def _modality_of_name(name: str) -> str | None:
    if "video" in name or name.startswith("second_per_grid"):
        return "video"
    return "image" if "image" in name or name.startswith(("pixel", "spatial_shapes")) else None


def check_count(placeholders: int, tokens: int) -> None:
    """Raises ModelError if the prompt has not as many placeholders as there are visual tokens."""
    if placeholders != tokens:
        raise ModelError(
            f"the prompt has {placeholders} image placeholders for {tokens} visual tokens; is the processor, "
            "with its chat template, the one of this model?"
        )
