"""PruMerge: keep the patches that [CLS] attends to and merge into each what has the most similar keys.

"LLaVA-PruMerge: Adaptive Token Reduction for Efficient Large Multimodal Models",
https://arxiv.org/abs/2403.15388. Re-implemented from the rule. Differs from the released code: `keep` says
how many tokens stay (there the share of outliers of the attention does), they are merged after the projector,
and the extra token has the place of the dropped one that [CLS] attends to most. PruMerge+ is `evenly=0.75`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from wordsight.errors import UsageError
from wordsight.pruners.base import MergePruner
from wordsight.selectors import cosine
from wordsight.tokens import VisualTokens


@dataclass(kw_only=True)
class PruMerge(MergePruner):
    """evenly: the share of the kept tokens, in [0, 1), that are evenly spaced whatever their attention.

    neighbours: each kept token has those with the most similar keys added, times the attention they get.
    One of the tokens is the sum of all that are dropped, times their attention.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"cls_attention_undivided", "keys"})
    evenly: float = 0.0
    neighbours: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.evenly < 1:
            raise UsageError(f"evenly must be in [0, 1), got {self.evenly}")
        if self.neighbours < 0:
            raise UsageError(f"neighbours must be 0 or more, got {self.neighbours}")

    def merge(self, tokens: VisualTokens, count: int) -> VisualTokens:
        attention = tokens.signals["cls_attention_undivided"].float()
        best = attention.argsort(descending=True, stable=True)
        spread = min(round(count * self.evenly), count - 1)
        centers = best[: max(1, count - 1 - spread)]
        rest = best[len(centers) :].sort().values
        spread = count - 1 - len(centers) if count > 1 else 0
        centers = torch.cat(
            [centers, rest[torch.arange(spread, device=rest.device) * len(rest) // max(1, spread)]]
        )
        embeds = tokens.embeds.float()
        alike = cosine(tokens.signals["keys"].flatten(1)).fill_diagonal_(-torch.inf)[centers]  # (K, N)
        near = alike.topk(min(self.neighbours, len(tokens) - 1)).indices  # (K, neighbours)
        made = tokens.embeds.clone()
        added = (embeds[near] * attention[near][..., None]).sum(1)
        made[centers] = (embeds[centers] + added).to(made.dtype)
        if count == 1:
            return replace(tokens, embeds=made).take(centers)
        dropped = torch.ones(len(tokens), dtype=torch.bool, device=best.device)
        dropped[centers] = False
        extra = best[dropped[best]][:1]
        made[extra] = (attention[dropped] @ embeds[dropped]).to(made.dtype)
        return replace(tokens, embeds=made).take(torch.cat([centers, extra]))
