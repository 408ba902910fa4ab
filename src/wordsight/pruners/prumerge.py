"""PruMerge: keep the patches that [CLS] attends to and merge into each what has the most similar keys.

"LLaVA-PruMerge: Adaptive Token Reduction for Efficient Large Multimodal Models",
https://arxiv.org/abs/2403.15388. Re-implemented from the rule. Differs from the released code: `keep` says
how many tokens stay, so that methods can be compared (there the attention does: `adaptive=true`), tokens are
merged after the projector, and the extra one has the place of the dropped one that [CLS] attends to most.
PruMerge+ is `evenly=0.75`: its even tokens are drawn among the rest (there among all, without doubles). Kept
tokens stay where they were, since closing the gaps ruins grounding (`positions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Interval
from torch import Tensor

from wordsight.algorithms.selection import directions, top_indices
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, MergePruner
from wordsight.pruners.scopes import BudgetScope


@dataclass(kw_only=True)
class PruMerge(MergePruner):
    """evenly: the share of the kept tokens, in [0, 1), that are evenly spaced whatever their attention.

    neighbors: each kept token has those with the most similar keys added, times the attention they get.
    One of the tokens is the sum of all that are dropped, times their attention.

    adaptive: keep, beside the sum, one for each outlier of the attention, more than 1.5 interquartile ranges
    above its third quartile (section 3.2), whatever the budget: the count adapts to the picture. Those that
    are even add to it by their share, which is about as many as in the released PruMerge+.
    """

    PUBLISHED = CONTIGUOUS
    required_signals: ClassVar[frozenset[str]] = frozenset({"cls_attention_undivided", "keys_last"})
    budget: BudgetScope = "crop"
    evenly: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    neighbors: Annotated[int, Ge(0)] = 32
    adaptive: bool = False

    @property
    def own_count(self) -> str | None:
        return "as many as a picture has outliers" if self.adaptive else None

    def count(self, tokens: VisualTokens) -> int:
        if not self.adaptive:
            return super().count(tokens)
        attention = tokens.signals["cls_attention_undivided"].float()
        first, third = attention.quantile(attention.new_tensor([0.25, 0.75]))
        outliers = int((attention > third + 1.5 * (third - first)).sum())
        return min(round((outliers + 1) / (1 - self.evenly)), len(tokens))

    def merge_weights(self, tokens: VisualTokens, count: int) -> tuple[Tensor, Tensor]:
        attention = tokens.signals["cls_attention_undivided"].float()
        best = top_indices(attention, len(attention))
        spread = min(round(count * self.evenly), count - 1)
        centers = best[: max(1, count - 1 - spread)]
        rest = best[len(centers) :].sort().values
        spread = count - 1 - len(centers) if count > 1 else 0
        centers = torch.cat(
            [centers, rest[torch.arange(spread, device=rest.device) * len(rest) // max(1, spread)]]
        )
        keys = directions(tokens.signals["keys_last"].flatten(1))
        alike = (keys[centers] @ keys.T).scatter(1, centers[:, None], -torch.inf)  # (K, N)
        near = alike.topk(min(self.neighbors, len(tokens) - 1)).indices  # (K, neighbors)
        weights = (
            torch.zeros_like(alike).scatter(1, centers[:, None], 1).scatter_add(1, near, attention[near])
        )
        if count == 1:
            return centers, weights
        dropped = torch.ones_like(attention, dtype=torch.bool)
        dropped[centers] = False
        extra = best[dropped[best]][:1]
        return torch.cat([centers, extra]), torch.cat([weights, (attention * dropped)[None]])
