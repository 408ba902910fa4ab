"""Prompt: one example ready for the language model. The only file that knows the seam and the batch axis.

The seam is transformers' `mm_encoder_outputs` (since 5.18, huggingface/transformers PR 45783): a forward
pass takes projected visual tokens instead of pixels. Pruning is then nothing but fewer placeholders and
fewer features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from wordsight.models.tokens import VisualTokens

if TYPE_CHECKING:
    from wordsight.pruners.base import LayerPruner

T = TypeVar("T")


@dataclass(frozen=True)
class Prompt:
    """The token sequence of a whole prompt, and the visual tokens of it that survive.

    sequence   per-position inputs of the unpruned prompt, last axis L: input_ids (L,), position_ids (L,) or,
               with M-RoPE, (4, L), ...
    is_visual  (L,) which positions are placeholders of visual tokens.
    visual     the surviving visual tokens; `visual.slot` says which placeholders they fill.
    modality   "image" or "video": the key under which the model takes the features.
    inside     the method that drops more of them between layers of the language model, if one does.
    """

    sequence: Mapping[str, Tensor]
    is_visual: Tensor
    visual: VisualTokens
    modality: str = "image"
    inside: LayerPruner | None = None

    def is_kept(self) -> Tensor:
        """(L,) which positions of the whole prompt the language model reads."""
        kept = ~self.is_visual
        kept[self.is_visual.nonzero()[self.visual.slot, 0]] = True
        return kept

    @property
    def length(self) -> int:
        """How many tokens the language model reads."""
        return len(self.is_visual) - int(self.is_visual.sum()) + len(self.visual)

    def contiguous(self) -> Prompt:
        """The same prompt with positions that count the kept tokens without gaps, as the papers' code has
        them.

        The default keeps the original positions: closing the gaps ruins grounding (arXiv 2506.21873).
        """
        count = self.is_kept().cumsum(0) - 1
        return replace(
            self, sequence={**self.sequence, "position_ids": count.expand_as(self.sequence["position_ids"])}
        )

    def followed_by(self, token: int, said: Mapping[str, int] = MappingProxyType({})) -> Prompt:
        """The prompt with one more text token at its end; `said` are its other inputs (`Family.said`)."""
        longer = {name: torch.cat([values, values[..., -1:]], -1) for name, values in self.sequence.items()}
        longer["input_ids"][-1] = token
        longer["position_ids"][..., -1] += 1
        for name, value in said.items():
            longer[name][-1] = value
        return replace(
            self, sequence=longer, is_visual=torch.cat([self.is_visual, self.is_visual.new_zeros(1)])
        )

    def inputs(self) -> dict[str, Any]:
        """Keyword arguments for `model(...)` and `model.generate(...)`; leave generate's KV cache on."""
        return collate([self])


def collate(prompts: Sequence[Prompt]) -> dict[str, Any]:
    """Keyword arguments for `model(...)` and `model.generate(...)`: the prompts as one left-padded batch.

    The attention mask is always there: without it, 1-D positions with gaps are read as packed sequences.
    """
    return _batch([_Row.of(prompt) for prompt in prompts])


def collate_after(prompts: Sequence[Prompt], length: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first `length` read tokens, which all prompts share, as a batch of one; and the rest of every
    prompt.

    The rest is meant for a forward pass with the first part's key-value cache, repeated for every prompt.
    """
    rows = [_Row.of(prompt) for prompt in prompts]
    rest = _batch([row.part(length, None) for row in rows])
    rest["attention_mask"] = torch.cat(
        [rest["attention_mask"].new_ones(len(rows), length), rest["attention_mask"]], 1
    )
    return _batch([rows[0].part(0, length)]), rest


def shared_length(prompts: Sequence[Prompt]) -> int:
    """How many of the first tokens are the same in all prompts; at least one token of each is left over.

    None are if tokens are dropped inside the language model: that looks at what comes after.
    """
    if any(prompt.inside for prompt in prompts):
        return 0
    rows = [_Row.of(prompt) for prompt in prompts]
    shortest = min(len(row.is_visual) for row in rows) - 1
    for row in rows[1:]:
        shortest = min(shortest, rows[0].agreement(row))
    return shortest


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


@dataclass(frozen=True)
class _Row:
    """The tokens of a prompt that are really read: no gaps, features beside the positions they go to."""

    sequence: dict[str, Tensor]
    is_visual: Tensor
    embeds: Tensor
    deep: tuple[Tensor, ...]
    listed: bool
    modality: str

    @classmethod
    def of(cls, prompt: Prompt) -> _Row:
        kept = prompt.is_kept()
        sequence = {name: values[..., kept] for name, values in prompt.sequence.items()}
        if (places := sequence["position_ids"]).ndim > 1:
            # The first axis of M-RoPE only tells packed sequences apart: a gap in it would look like one.
            places[0] = torch.arange(places.shape[-1], device=places.device)
        return cls(
            sequence,
            prompt.is_visual[kept],
            prompt.visual.embeds,
            prompt.visual.deep,
            prompt.visual.listed,
            prompt.modality,
        )

    def part(self, start: int, end: int | None) -> _Row:
        before, within = int(self.is_visual[:start].sum()), int(self.is_visual[start:end].sum())
        rows = slice(before, before + within)
        return replace(
            self,
            sequence={name: values[..., start:end] for name, values in self.sequence.items()},
            is_visual=self.is_visual[start:end],
            embeds=self.embeds[rows],
            deep=tuple(layer[rows] for layer in self.deep),
        )

    def agreement(self, other: _Row) -> int:
        """How many of the first tokens are the same in both rows."""
        length = min(len(self.is_visual), len(other.is_visual))
        mine, yours = self.part(0, length), other.part(0, length)
        same = mine.is_visual == yours.is_visual
        for name, values in mine.sequence.items():
            same &= (values == yours.sequence[name]).reshape(-1, length).all(0)
        places = (mine.is_visual & yours.is_visual).nonzero()[:, 0]
        visual = min(len(mine.embeds), len(yours.embeds), len(places))
        for ours, theirs in zip((mine.embeds, *mine.deep), (yours.embeds, *yours.deep), strict=True):
            same[places[:visual]] &= (ours[:visual] == theirs[:visual]).all(-1)
        return int(same.int().cumprod(0).sum())


def _batch(rows: Sequence[_Row]) -> dict[str, Any]:
    longest = max(len(row.is_visual) for row in rows)
    batch: dict[str, Any] = {
        # M-RoPE positions are (axes, L): the batch axis goes second to last, as the models expect it.
        name: torch.stack([_padded(row.sequence[name], longest) for row in rows], -2)
        for name in rows[0].sequence
    }
    batch["attention_mask"] = torch.stack(
        [_padded(torch.ones_like(row.is_visual, dtype=torch.long), longest) for row in rows]
    )
    seen = {}
    for modality in sorted({row.modality for row in rows if len(row.embeds)}):
        having = [row for row in rows if row.modality == modality]
        embeds = torch.cat([row.embeds for row in having])  # (N, D)
        # As a tensor it is (N, 1, D): before 5.21 SmolVLM takes tokens in blocks of the second axis.
        container = [embeds] if having[0].listed else embeds[:, None]
        features = BaseModelOutputWithPooling(pooler_output=container)
        if having[0].deep:
            layers = zip(*(row.deep for row in having), strict=True)
            features["deepstack_features"] = None
            features.deepstack_features = [list(layer) for layer in layers]
        seen[modality] = features
    return batch | {"mm_encoder_outputs": seen}


def _padded(values: Tensor, length: int) -> Tensor:
    return torch.nn.functional.pad(values, (length - values.shape[-1], 0))
