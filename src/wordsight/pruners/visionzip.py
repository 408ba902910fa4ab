"""VisionZip: keep the patches that [CLS] attends to, and merge the others around evenly spaced ones.

"VisionZip: Longer is Better but Not Necessary in Vision Language Models", https://arxiv.org/abs/2412.04467.
Re-implemented from the rule. Differs from the released code: tokens are merged after the projector, and [CLS]
itself is not kept, since the model projects it nowhere; one more patch has its place. Kept tokens stay where
they were, since closing the gaps ruins grounding (`positions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wordsight._utils.options import Fraction
from wordsight.algorithms.selection import most_similar, top_indices
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, MergePruner
from wordsight.pruners.scopes import BudgetScope


@dataclass(kw_only=True)
class VisionZip(MergePruner):
    """contextual: the share of the kept tokens that are merged, in [0, 1]; the rest are dominant, as they
    were.

    A merged token is an evenly spaced one of what is not dominant plus the mean of all that are most similar
    to it by the keys (mean over heads). Papers' 54 + 10 of 64.
    """

    PUBLISHED = CONTIGUOUS
    required_signals: ClassVar[frozenset[str]] = frozenset({"cls_attention", "keys"})
    budget: BudgetScope = "crop"
    contextual: Fraction = 10 / 64

    def merge_weights(self, tokens: VisualTokens, count: int) -> tuple[Tensor, Tensor]:
        merged = round(count * self.contextual)
        best = top_indices(tokens.signals["cls_attention"], len(tokens))
        dominant, rest = best[: count - merged], best[count - merged :].sort().values
        targets = rest[torch.arange(merged, device=rest.device) * max(1, len(rest) // max(1, merged))]
        index = torch.cat([dominant, targets])
        weights = torch.zeros(count, len(tokens), device=rest.device).scatter(1, index[:, None], 1)
        if not merged:
            return index, weights
        others = rest[~torch.isin(rest, targets)]
        keys = tokens.signals["keys"].float().mean(1)
        target = most_similar(keys[others], keys[targets])[1]
        weights[len(dominant) + target, others] = 1 / target.bincount(minlength=merged)[target]
        return index, weights
