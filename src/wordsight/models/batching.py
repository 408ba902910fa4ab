"""Batching: rows of tokens as the keyword arguments of one forward pass. The only file that knows the batch
axis and the seam.

The seam is transformers' `mm_encoder_outputs` (since 5.18, huggingface/transformers PR 45783): a forward
pass takes projected visual tokens instead of pixels. Pruning is then nothing but fewer placeholders and
fewer features. 5.18 itself is not supported: `generate` there repeats the items of a row for beams one by
one, so that they no longer fit the placeholders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

T = TypeVar("T")
PADDING = {"labels": -100}  # what is not 0 where a row is filled up: no answer is wanted there


@dataclass(frozen=True)
class PromptRow:
    """The tokens of a prompt that are really read: no gaps, features beside the positions they go to.

    sequence   per-position inputs, last axis L: input_ids (L,), position_ids (L,) or (4, L), ...
    is_visual  (L,) which positions take a row of `embeds` (N, D), and of every layer of `deep`.
    listed     whether the model's own encoder returns a list of items, not one tensor.
    is_video   (N,) which of them are of videos: the model takes the features of those by themselves.
    marks      (M, D) or None, see `VisualTokens`.
    """

    sequence: dict[str, Tensor]
    is_visual: Tensor
    embeds: Tensor
    deep: tuple[Tensor, ...]
    listed: bool
    is_video: Tensor
    marks: Tensor | None = None

    def part(self, columns: slice | Tensor) -> PromptRow:
        """The positions at `columns`, ascending."""
        visual = (self.is_visual.cumsum(0) - 1)[columns][self.is_visual[columns]]
        return replace(
            self,
            sequence={name: values[..., columns] for name, values in self.sequence.items()},
            is_visual=self.is_visual[columns],
            embeds=self.embeds[visual],
            deep=tuple(layer[visual] for layer in self.deep),
            is_video=self.is_video[visual],
        )


def to_batch(rows: Sequence[PromptRow], padding: int = 0) -> dict[str, Any]:
    """Keyword arguments for `model(...)` and `model.generate(...)`: the rows as one left-padded batch, with
    so much more padding than the longest needs.

    The attention mask is always there: without it, 1-D positions with gaps are read as packed sequences.
    """
    longest = max(len(row.is_visual) for row in rows) + padding
    batch: dict[str, Any] = {
        # M-RoPE positions are (axes, L): the batch axis goes second to last, as the models expect it.
        name: torch.stack([_pad_left(row.sequence[name], longest, PADDING.get(name, 0)) for row in rows], -2)
        for name in rows[0].sequence
    }
    batch["attention_mask"] = torch.stack(
        [_pad_left(torch.ones_like(row.is_visual, dtype=torch.long), longest) for row in rows]
    )
    encoded = {}
    for modality, of_videos in (("image", False), ("video", True)):
        parts = [(row, row.is_video == of_videos) for row in rows]
        if having := [
            (row, own) for row, own in parts if own.any() or (row.marks is not None and not of_videos)
        ]:
            encoded[modality] = _features(having)
    return batch | {"mm_encoder_outputs": encoded}


def _features(parts: Sequence[tuple[PromptRow, Tensor]]) -> BaseModelOutputWithPooling:
    """The features of the rows' tokens that are marked, as the model's own encoder returns them."""
    embeds = [row.embeds[own] for row, own in parts]  # (N_i, D) of every row
    # An item a row, as far as it can be: `generate` repeats items with the rows they are in. As one tensor:
    # (rows, N, D), or (N, 1, D) if rows have unlike counts. Before 5.21 SmolVLM takes blocks of one size.
    alike = len({len(own) for own in embeds}) == 1
    whole = torch.stack(embeds) if alike else torch.cat(embeds)[:, None]
    given = embeds if parts[0][0].listed else whole
    features = BaseModelOutputWithPooling(pooler_output=given, last_hidden_state=whole)  # Llama 4: the latter
    if marks := [row.marks for row, _ in parts if row.marks is not None]:
        features.visual_indicator_features = marks[0]
    if parts[0][0].deep:
        layers = zip(*([layer[own] for layer in row.deep] for row, own in parts), strict=True)
        features["deepstack_features"] = None
        features.deepstack_features = [list(layer) for layer in layers]
    return features


def to_batch_after(
    rows: Sequence[PromptRow], length: int, padding: int = 0
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first `length` tokens, which all rows share, as a batch of one; and the rest of every row.

    The rest is meant for a forward pass with the first part's key-value cache, repeated for every row.
    """
    rest = to_batch([row.part(slice(length, None)) for row in rows], padding)
    rest["attention_mask"] = torch.cat(
        [rest["attention_mask"].new_ones(len(rows), length), rest["attention_mask"]], 1
    )
    return to_batch([rows[0].part(slice(length))]), rest


def to_batch_of_groups(
    groups: Sequence[tuple[Sequence[PromptRow], int]], padding: int = 0
) -> tuple[dict[str, Any], dict[str, Any], Tensor]:
    """The first tokens of every group, as many as given, which all of its rows share, as a batch; all rows,
    with padding between those and the rest, and the features of the rest; and (rows,) the group of each.
    """
    first = to_batch([rows[0].part(slice(length)) for rows, length in groups])
    rest = to_batch([row.part(slice(length, None)) for rows, length in groups for row in rows], padding)
    group = torch.tensor([number for number, (rows, _) in enumerate(groups) for _ in rows])
    of_tokens = [name for name in first if name != "mm_encoder_outputs"]
    whole = {name: torch.cat([first[name][..., group, :], rest[name]], -1) for name in of_tokens}
    return first, rest | whole, group


def shared_prefix_length(rows: Sequence[PromptRow]) -> int:
    """How many of the first tokens are the same in all rows; at least one token of each is left over."""
    first = rows[0]
    length = min(len(row.is_visual) for row in rows) - 1
    columns = [[row.sequence[name] for row in rows] for name in first.sequence]
    for column in ([row.is_visual for row in rows], *columns):
        values = torch.stack([one[..., :length] for one in column])
        length = _alike(values == values[0])
    places = first.is_visual[:length].nonzero()[:, 0]
    visual = len(places)
    for row in rows[1:]:
        if not visual:  # a row of text has no deepstack features, either
            break
        for ours, theirs in zip((first.embeds, *first.deep), (row.embeds, *row.deep), strict=True):
            visual = _alike((ours[:visual] == theirs[:visual]).T)
    return int(places[visual]) if visual < len(places) else length


def _alike(equal: Tensor) -> int:
    """How many of the first columns (..., L) are true throughout."""
    return int(equal.flatten(0, -2).all(0).int().cumprod(0).sum())


def batches(items: Iterable[T], length: Callable[[T], int], tokens: int) -> Iterator[list[T]]:
    """As many items at a time as fit into the tokens of one pass, padding and all."""
    batch: list[T] = []
    longest = 0
    for item in items:
        longest = max(longest, length(item))
        if batch and longest * (len(batch) + 1) > tokens:
            yield batch
            batch, longest = [], length(item)
        batch.append(item)
    if batch:
        yield batch


def _pad_left(values: Tensor, length: int, filler: int = 0) -> Tensor:
    return torch.nn.functional.pad(values, (length - values.shape[-1], 0), value=filler)
