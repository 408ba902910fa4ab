"""LayerState: a prompt between two layers of the language model, as layerwise methods see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from wordsight.models.tokens import VisualTokens


@dataclass(frozen=True)
class Attention:
    """Queries and keys of one layer, after rotary embedding.

    queries  (H, L, width).
    keys     (G, L, width), each for H / G heads.
    mask     (L, L) where a token may look: true, or 0 if it is added; None is everywhere before it.
    scaling  of the scores; softcap bounds them, in models that do.
    """

    queries: Tensor
    keys: Tensor
    mask: Tensor | None
    scaling: float
    softcap: float | None = None

    def rows(self, at: Tensor) -> Tensor:
        """(H, R, L) float32: the attention that the tokens at places `at` (R,) paid to all."""
        keys = self.keys.float().repeat_interleave(len(self.queries) // len(self.keys), 0)
        scores = self.queries[:, at].float() @ keys.transpose(1, 2) * self.scaling  # (H, R, L)
        if self.softcap is not None:
            scores = (scores / self.softcap).tanh() * self.softcap
        if self.mask is None:
            later = torch.arange(keys.shape[1], device=at.device) > at[:, None]
            return scores.masked_fill(later, -torch.inf).softmax(-1)
        mask = self.mask[at]
        added = mask if mask.is_floating_point() else torch.zeros_like(scores).masked_fill(~mask, -torch.inf)
        return (scores + added).softmax(-1)

    def last_row(self) -> Tensor:
        """(L,) the attention that the last token of the prompt pays, the mean over heads."""
        last = torch.tensor([self.queries.shape[1] - 1], device=self.queries.device)
        return self.rows(last)[:, 0].mean(0)


@dataclass(frozen=True)
class LayerState:
    """One prompt between two layers.

    hidden           (L, D) what the next layer reads: all of the text, and the visual tokens that are left.
    visual           (N,) the places of those in it, ascending.
    attention        that of the layer before.
    embeds           (M, D) what the first layer read, all visual tokens among them.
    visual_at_start  (K,) the places of those in it.
    next_attention   computes that of the next layer, as it would be if it read all that is here.
    final_norm       what the model does to hidden states (..., D) after its last layer.
    """

    hidden: Tensor
    visual: Tensor
    attention: Attention
    embeds: Tensor
    visual_at_start: Tensor
    next_attention: Callable[[], Attention]
    final_norm: Callable[[Tensor], Tensor]

    def take(self, index: Tensor) -> LayerState:
        """With only those of the visual tokens, put back into reading order."""
        return replace(self, visual=self.visual[index.sort().values])


class LayerwiseMethod(Protocol):
    """What a run of the model needs to know of a method that drops tokens between layers, see
    `wordsight.pruners.layerwise.LayerPruner`.
    """

    def check(self, vlm: Any) -> None: ...
    def plan(self, tokens: VisualTokens, depth: int) -> dict[int, int]: ...
    def tokens_read(self, tokens: VisualTokens, depth: int) -> float: ...
    def prune_layer(self, state: LayerState, count: int) -> LayerState: ...
