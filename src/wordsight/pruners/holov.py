"""HoloV: share the budget among runs of tokens by attention and variety, and keep what [CLS] attends to.

"Don't Just Chase "Highlighted Tokens" in MLLMs: Revisiting Visual Holistic Context Retention",
https://arxiv.org/abs/2510.02912. Re-implemented from the rule that the released code has. Differs from it:
what a run cannot take the others get (there zeros are read in its place; `rounding=released` keeps nothing),
and tokens are read in their order (there those of a run by falling attention). As there, the variety in a run
is scaled to the size of its attention, and so hardly changes what the attention alone would give it. Kept
tokens stay where they were, since closing the gaps ruins grounding (`positions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from wordsight._utils.options import Count, NotNegative, Rounding
from wordsight.algorithms.selection import directions, loops_on_cpu, split_budget, top_indices
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, Pruner
from wordsight.pruners.scopes import BudgetScope

SCALE = 1e3  # of attention, in runs of several tokens
NOTHING = 1e-6


@dataclass(kw_only=True)
class HoloV(Pruner):
    """crops: how many runs, in reading order, of as many tokens each. variety: the weight of the variance of
    the cosines inside a run. rounding: "released" keeps fewer tokens
    than asked for where a run cannot take its share.
    """

    PUBLISHED: ClassVar = {**CONTIGUOUS, "rounding": "released"}
    required_signals: ClassVar[frozenset[str]] = frozenset({"cls_attention"})
    budget: BudgetScope = "image"
    crops: Count = 16
    variety: NotNegative = 0.09
    rounding: Rounding = "exact"

    def select(self, tokens: VisualTokens) -> VisualTokens:
        attention = tokens.signals["cls_attention"].float()
        runs = torch.arange(len(tokens), device="cpu").tensor_split(min(self.crops, len(tokens)))
        worth, sizes = self._worth(tokens.embeds, attention, runs), [len(run) for run in runs]
        return tokens.take(_chosen(worth, attention, sizes, self.count(tokens), self.rounding))

    def _worth(self, embeds: Tensor, attention: Tensor, runs: Sequence[Tensor]) -> Tensor:
        """(R,) the mean score of every run, all runs at once, of L tokens where shorter ones end in zeros."""
        index = pad_sequence([*runs], batch_first=True, padding_value=-1).to(attention.device)  # (R, L)
        there = (index >= 0).float()
        size = there.sum(1)
        others = (size - 1).clamp(min=1)[:, None]
        unit = directions(embeds)[index] * there[..., None]  # (R, L, D)
        alike = unit @ unit.mT * (1 - torch.eye(index.shape[1], device=index.device))
        off = (alike - (alike.sum(2) / others)[..., None]) * there[:, None]
        variance = (off.square().sum(2) / others).sum(1) / size  # with the zeros, as there
        paid = (attention[index] * there).sum(1) / size
        varied = SCALE * paid * (1 + self.variety * variance / (variance + NOTHING))
        return torch.where(size == 1, paid, varied)


@loops_on_cpu
def _chosen(worth: Tensor, attention: Tensor, sizes: list[int], budget: int, rounding: Rounding) -> Tensor:
    """Of runs of these sizes the tokens that get most attention (N,), as many as each is worth (R,)."""
    runs = torch.split(torch.arange(len(attention)), sizes)
    pairs = zip(runs, _counts(worth, sizes, budget, rounding), strict=True)
    return torch.cat([run[top_indices(attention[run], count)] for run, count in pairs])


def _counts(worth: Tensor, sizes: list[int], budget: int, rounding: Rounding) -> list[int]:
    """The budget in proportion to what runs are worth, rounded down; what is left, one each, to the best."""
    shares = worth / worth.sum() if worth.sum() > 0 else torch.ones_like(worth) / len(worth)
    counts = (shares * budget).int().tolist()
    for i in top_indices(worth, budget - sum(counts)).tolist():
        counts[i] += 1
    kept = [min(count, size) for count, size in zip(counts, sizes, strict=True)]
    if rounding == "released":
        return kept
    room = [size - count for size, count in zip(sizes, kept, strict=True)]
    beyond = split_budget(budget - sum(kept), shares.tolist(), room)
    return [count + more for count, more in zip(kept, beyond, strict=True)]
