"""VScan, stage 1: keep what [CLS] attends to at last and, window by window, early on; merge the rest into it.

"VScan: Rethinking Visual Token Reduction for Efficient Large Vision-Language Models",
https://arxiv.org/abs/2505.22654. Re-implemented from the rule; its second stage, inside the language model,
is not here. Differs from the released code: windows share their part of the budget as its code for Qwen2.5-VL
has it, so that any number of tokens and any grid works. Kept tokens stay where they were, since closing the
gaps ruins grounding (`positions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wordsight._utils.options import Count, Fraction
from wordsight.algorithms.selection import cosine, top_indices
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, MergePruner
from wordsight.pruners.scopes import BudgetScope


@dataclass(kw_only=True)
class VScan(MergePruner):
    """local: the share of the kept tokens, in [0, 1], that are chosen in windows of `window` rows and columns
    by the attention in an early layer; the others by that in the layer that is projected.

    local_depth: which layer is the early one, as a share of those up to the one that is projected: the 6th of
    CLIP's 24. Every other token is merged into the kept one of the most similar embedding, as in a mean.
    The authors have windows of 6 for LLaVA and of 4 for Qwen2.5-VL.
    """

    PUBLISHED = CONTIGUOUS
    required_signals: ClassVar[frozenset[str]] = frozenset({"cls_attention_by_layer"})
    budget: BudgetScope = "crop"
    local: Fraction = 0.5
    window: Count = 6
    local_depth: Fraction = 6 / 24

    def merge_weights(self, tokens: VisualTokens, count: int) -> tuple[Tensor, Tensor]:
        attention = tokens.signals["cls_attention_by_layer"].float()  # (N, layers)
        early = attention[:, max(1, round(self.local_depth * attention.shape[1])) - 1]
        windows = _windows(tokens.cell, self.window)
        chosen = _spread(early, windows, int(count * self.local))
        late = attention[:, -1].clone()
        late[chosen] = -torch.inf
        kept = torch.cat([chosen, top_indices(late, count - len(chosen))])
        nearest = cosine(tokens.embeds)[:, kept].argmax(-1)  # (N,)
        nearest[kept] = torch.arange(count, device=kept.device)
        is_member = (nearest == torch.arange(count, device=kept.device)[:, None]).float()  # (K, N)
        return kept, is_member / is_member.sum(1, keepdim=True)


def _windows(cell: Tensor, side: int) -> Tensor:
    """(N,) the window of each token, numbered from 0; rows and columns that fill none join the last."""
    crops = torch.unique_consecutive(cell[:, :2], dim=0, return_inverse=True)[1]
    parts = [crops]
    for place in (cell[:, 2], cell[:, 3]):
        length = torch.zeros_like(crops).scatter_reduce(0, crops, place + 1, "amax")[crops]
        parts.append(torch.minimum(place // side, (length // side - 1).clamp(min=0)))
    window: Tensor = torch.unique(torch.stack(parts, 1), dim=0, return_inverse=True)[1]
    return window


def _spread(scores: Tensor, windows: Tensor, count: int) -> Tensor:
    """(count,) the highest scores (N,), at most an equal share of each window as far as that goes."""
    most = -(-count // (int(windows.max()) + 1))
    window = windows.tolist()
    taken = [0] * (max(window) + 1)
    within: list[int] = []
    beyond: list[int] = []
    for i in top_indices(scores, len(scores)).tolist():
        (within if taken[window[i]] < most else beyond).append(i)
        taken[window[i]] += 1
    return windows.new_tensor((within + beyond)[:count])
