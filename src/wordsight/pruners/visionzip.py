"""VisionZip: keep the patches that [CLS] attends to, and merge the others around evenly spaced ones.

"VisionZip: Longer is Better but Not Necessary in Vision Language Models", https://arxiv.org/abs/2412.04467.
Re-implemented from the rule. Differs from the released code: tokens are merged after the projector, and [CLS]
itself is not kept, since the model projects it nowhere; one more patch has its place.
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
class VisionZip(MergePruner):
    """contextual: the share of the kept tokens that are merged, in [0, 1]; the rest are dominant, as they
    were.

    A merged token is an evenly spaced one of what is not dominant plus the mean of all that are most similar
    to it by the keys (mean over heads). Papers' 54 + 10 of 64.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"cls_attention", "keys"})
    contextual: float = 10 / 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.contextual <= 1:
            raise UsageError(f"contextual must be in [0, 1], got {self.contextual}")

    def merge(self, tokens: VisualTokens, count: int) -> VisualTokens:
        merged = round(count * self.contextual)
        best = tokens.signals["cls_attention"].float().argsort(descending=True, stable=True)
        dominant, rest = best[: count - merged], best[count - merged :].sort().values
        if not merged:
            return tokens.take(dominant)
        targets = torch.arange(merged, device=rest.device) * max(1, len(rest) // merged)
        alike = cosine(tokens.signals["keys"].float().mean(1)[rest])[:, targets]  # (rest, merged)
        alike[targets] = -torch.inf  # a target is merged into no other
        member = alike.argmax(-1)
        others = torch.ones(len(rest), device=rest.device)
        others[targets] = 0
        embeds = tokens.embeds.float()
        sums = torch.zeros(merged, embeds.shape[1], device=rest.device)
        sums.index_add_(0, member, embeds[rest] * others[:, None])
        sizes = torch.zeros(merged, device=rest.device).index_add_(0, member, others).clamp(min=1)
        made = tokens.embeds.clone()
        made[rest[targets]] = (embeds[rest[targets]] + sums / sizes[:, None]).to(made.dtype)
        return replace(tokens, embeds=made).take(torch.cat([dominant, rest[targets]]))
