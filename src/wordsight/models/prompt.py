"""Prompt: one example ready for the language model, whole or pruned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor

from wordsight.errors import UsageError, shown
from wordsight.models import batching
from wordsight.models.batching import PromptRow
from wordsight.models.layer_state import LayerwiseMethod
from wordsight.models.tokens import VisualTokens


@dataclass(frozen=True)
class Prompt:
    """The token sequence of a whole prompt, and the visual tokens of it that survive.

    sequence   per-position inputs of the unpruned prompt, last axis L: input_ids (L,), position_ids (L,) or,
               with M-RoPE, (4, L), ...
    is_visual  (L,) which positions are placeholders of visual tokens.
    visual     the surviving visual tokens; `visual.slot` says which placeholders they fill.
    is_video   (L,) which of them are placeholders of videos; None where none is.
    layerwise  the method that drops more of them between layers of the language model, if one does.
    """

    sequence: Mapping[str, Tensor]
    is_visual: Tensor
    visual: VisualTokens
    is_video: Tensor | None = None
    layerwise: LayerwiseMethod | None = None

    def is_kept(self) -> Tensor:
        """(L,) which positions of the whole prompt the language model reads."""
        kept = ~self.is_visual
        kept[self.is_visual.nonzero()[self.visual.slot, 0]] = True
        return kept

    @cached_property
    def length(self) -> int:
        """How many tokens the language model reads."""
        return len(self.is_visual) - int(self.is_visual.sum()) + len(self.visual)

    @cached_property
    def row(self) -> PromptRow:
        """What is really read of the prompt."""
        kept = self.is_kept()
        sequence = {name: values[..., kept] for name, values in self.sequence.items()}
        if (places := sequence["position_ids"]).ndim > 1:
            # The first axis of M-RoPE only tells packed sequences apart: a gap in it would look like one.
            places[0] = torch.arange(places.shape[-1], device=places.device)
        visual, is_visual = self.visual, self.is_visual[kept]
        is_video = torch.zeros_like(kept) if self.is_video is None else self.is_video
        own = is_video[kept][is_visual]
        return PromptRow(sequence, is_visual, visual.embeds, visual.deep, visual.listed, own, visual.marks)

    def contiguous(self) -> Prompt:
        """The same prompt with positions that count the kept tokens without gaps, as the papers' code has
        them.

        The default keeps the original positions: closing the gaps ruins grounding (arXiv 2506.21873).
        """
        count = self.is_kept().cumsum(0) - 1
        return replace(
            self, sequence={**self.sequence, "position_ids": count.expand_as(self.sequence["position_ids"])}
        )

    def followed_by(self, token: int, generated: Mapping[str, int] = MappingProxyType({})) -> Prompt:
        """The prompt with one more text token at its end; `generated` are its other inputs
        (`Family.generated`).
        """
        longer = {name: torch.cat([values, values[..., -1:]], -1) for name, values in self.sequence.items()}
        longer["input_ids"][-1] = token
        longer["position_ids"][..., -1] += 1
        for name, value in generated.items():
            longer[name][-1] = value
        none = self.is_visual.new_zeros(1)
        of_videos = None if self.is_video is None else torch.cat([self.is_video, none])
        is_visual = torch.cat([self.is_visual, none])
        return replace(self, sequence=longer, is_visual=is_visual, is_video=of_videos)

    def inputs(self) -> dict[str, Any]:
        """Keyword arguments for `model(...)` and `model.generate(...)`; leave generate's KV cache on.

        Raises UsageError if a method drops tokens between layers: the model alone would read them all.
        """
        if self.layerwise:
            raise UsageError(
                f"{type(self.layerwise).__name__} drops tokens between layers of the language model, which "
                "inputs alone cannot do: give [prompt] to VLM.logits or VLM.generate, or take a pruner that "
                "chooses before the model"
            )
        return collate([self])


class PromptPruner(Protocol):
    """What a model needs to know of a pruner, see `wordsight.pruners.base.Pruner`."""

    @property
    def required_signals(self) -> frozenset[str]: ...
    @property
    def reads_question(self) -> bool: ...
    @property
    def positions(self) -> str: ...
    @property
    def stats(self) -> Any: ...
    def __call__(self, prompt: Prompt) -> Prompt: ...
    def check(self, vlm: Any) -> None: ...
    def prune(self, tokens: VisualTokens) -> VisualTokens: ...
    def apply(self, prompt: Prompt, kept: VisualTokens) -> Prompt: ...


def collate(prompts: Sequence[Prompt]) -> dict[str, Any]:
    """Keyword arguments for `model(...)` and `model.generate(..., use_cache=True)`: the prompts as one
    left-padded batch. Without a cache, generate reads gaps between positions as ends of prompts.

    Raises UsageError if there are no prompts.
    """
    if not prompts or isinstance(prompts, Prompt):
        raise UsageError(f"prompts must be a list of at least one prompt, got {shown(prompts)}")
    return batching.to_batch([prompt.row for prompt in prompts])


def collate_after(
    prompts: Sequence[Prompt], length: int, padding: int = 0
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first `length` read tokens, which all prompts share, as a batch of one; and the rest of every
    prompt, with so much more padding than the longest needs, for a pass with the first part's key-value
    cache.
    """
    return batching.to_batch_after([prompt.row for prompt in prompts], length, padding)


def collate_columns(prompts: Sequence[Prompt], columns: Sequence[Tensor]) -> dict[str, Any]:
    """Of each prompt the read tokens at its columns, ascending, as a batch like that of `collate`."""
    pairs = zip(prompts, columns, strict=True)
    return batching.to_batch([prompt.row.part(places) for prompt, places in pairs])


def collate_groups(
    groups: Sequence[tuple[Sequence[Prompt], int]], padding: int = 0
) -> tuple[dict[str, Any], dict[str, Any], Tensor]:
    """The first tokens of every group, as many as given, which all of its prompts share, as a batch; all
    prompts whole, but for the features of those tokens, for `generate` with the key-value cache of the first
    part; and (prompts,) which of its rows each prompt begins with.
    """
    rows = [([prompt.row for prompt in prompts], length) for prompts, length in groups]
    return batching.to_batch_of_groups(rows, padding)


def shared_prefix_length(prompts: Sequence[Prompt]) -> int:
    """How many of the first tokens are the same in all prompts; at least one token of each is left over.

    None are if tokens are dropped between layers of the language model: that looks at what comes after.
    """
    if any(prompt.layerwise for prompt in prompts):
        return 0
    return batching.shared_prefix_length([prompt.row for prompt in prompts])
