"""HoloV: share the budget among runs of tokens by attention and variety, and keep what [CLS] attends to.

"Don't Just Chase "Highlighted Tokens" in MLLMs: Revisiting Visual Holistic Context Retention",
https://arxiv.org/abs/2510.02912. Re-implemented from the rule that the released code has. Differs from it:
what a run cannot take the others get (there it is filled up with zeros). As there, the variety in a run is
scaled to the size of its attention, and so hardly changes what the attention alone would give it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wordsight._utils.options import Count, NotNegative
from wordsight.algorithms.selection import cosine, split_budget, top_indices
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, Pruner
from wordsight.pruners.scopes import BudgetScope

SCALE = 1e3  # of attention, in runs of several tokens
NOTHING = 1e-6


@dataclass(kw_only=True)
class HoloV(Pruner):
    """crops: how many runs, in reading order, of as many tokens each. variety: the weight of the variance of
    the cosines inside a run.
    """

    PUBLISHED = CONTIGUOUS
    required_signals: ClassVar[frozenset[str]] = frozenset({"cls_attention"})
    budget: BudgetScope = "image"
    crops: Count = 16
    variety: NotNegative = 0.09

    def select(self, tokens: VisualTokens) -> VisualTokens:
        attention = tokens.signals["cls_attention"].float()
        runs = torch.arange(len(tokens), device=attention.device).tensor_split(min(self.crops, len(tokens)))
        worth = torch.stack([self._worth(tokens.embeds[run], attention[run]) for run in runs])
        counts = _counts(worth, [len(run) for run in runs], self.count(tokens))
        pairs = zip(runs, counts, strict=True)
        return tokens.take(torch.cat([run[top_indices(attention[run], count)] for run, count in pairs]))

    def _worth(self, embeds: Tensor, attention: Tensor) -> Tensor:
        """The mean score of a run."""
        if len(embeds) == 1:
            return attention.mean()
        alike = cosine(embeds).fill_diagonal_(0)
        mean = alike.sum(1, keepdim=True) / (len(embeds) - 1)
        variance = (alike - mean).square().sum(1) / (len(embeds) - 1)  # with the zeros, as there
        paid = attention * SCALE
        return (paid + self.variety * variance * paid.mean() / (variance.mean() + NOTHING)).mean()


def _counts(worth: Tensor, sizes: list[int], budget: int) -> list[int]:
    """The budget in proportion to what runs are worth, rounded down; what is left, one each, to the best."""
    shares = worth / worth.sum() if worth.sum() > 0 else torch.ones_like(worth) / len(worth)
    counts = (shares * budget).int().tolist()
    for i in top_indices(worth, budget - sum(counts)).tolist():
        counts[i] += 1
    kept = [min(count, size) for count, size in zip(counts, sizes, strict=True)]
    room = [size - count for size, count in zip(sizes, kept, strict=True)]
    beyond = split_budget(budget - sum(kept), shares.tolist(), room)
    return [count + more for count, more in zip(kept, beyond, strict=True)]
