"""Prefix cache: what questions about one picture begin with is read once for all of their answers.

Each of them gets a row of the cache that was read, for `generate` to go on with. Logits alone, which need no
such rows, are read in a cascade where they can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import ceil
from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from wordsight.models.prompt import Prompt, collate_groups, shared_prefix_length


@dataclass(frozen=True)
class Continuation:
    """A prompt of which the first `shared` tokens are those of all `among` prompts about its picture."""

    prompt: Prompt
    shared: int = 0
    among: int = 1

    @property
    def tokens(self) -> int:
        """How many tokens are read for it: its own, and its part of those that are shared."""
        return self.prompt.length - self.shared + ceil(self.shared / self.among)


def continuations(prompts: Sequence[Prompt]) -> list[Continuation]:
    """The prompts, in their order; those in a row that have the very same visual tokens share a beginning."""
    found = []
    for _, alike in groupby(prompts, lambda prompt: id(prompt.visual.embeds)):
        group = list(alike)
        whole = [replace(prompt, layerwise=None) for prompt in group]
        shared = shared_prefix_length(whole) if len(group) > 1 else 0
        found += [Continuation(prompt, shared, len(group)) for prompt in group]
    return found


def collate_continuations(
    items: Sequence[Continuation], padding: int = 0
) -> tuple[dict[str, Any], dict[str, Any], Tensor]:
    """What these prompts begin with, see `collate_groups`; all of them share something."""
    groups = [list(group) for _, group in groupby(items, lambda item: id(item.prompt.visual.embeds))]
    return collate_groups([([item.prompt for item in group], group[0].shared) for group in groups], padding)


def tokens_laid_out(items: Sequence[Continuation]) -> int:
    """How many tokens a row of these prompts has at most, with padding between a beginning and its rest."""
    return 1 + max(item.shared for item in items) + max(item.prompt.length - item.shared for item in items)


def keeps_every_token(config: Any, length: int) -> bool:
    """Whether a cache of a model of this config has the keys and values of all of so many tokens in all
    layers, so that padding between a beginning and its rest moves nothing out of a window.
    """
    layers = DynamicCache(config=config).layers
    return all(
        type(layer) is DynamicLayer or getattr(layer, "sliding_window", 0) >= length for layer in layers
    )
