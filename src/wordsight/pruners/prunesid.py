"""PruneSID: group tokens by principal components, and keep of each group what is no duplicate.

"PruneSID: Prune Redundancy, Preserve Essence", https://arxiv.org/abs/2603.09480. Re-implemented from the
rule. Differs from the released code: the components are exact, not those of a randomized method; and [CLS]
itself, which counts as one of the tokens to keep there, is not kept, since the model projects it nowhere.
Kept tokens stay where they were, since closing the gaps ruins grounding (`positions`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wordsight.algorithms.selection import cosine, directions, loops_on_cpu, top_indices, with_doubles
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, Pruner
from wordsight.pruners.scopes import BudgetScope

ROUNDING = 1e-5  # of the largest singular value: smaller ones are zeros, and their components arbitrary


@dataclass(kw_only=True)
class PruneSID(Pruner):
    """A quarter as many groups as tokens to keep and [CLS]."""

    PUBLISHED = CONTIGUOUS
    required_signals: ClassVar[frozenset[str]] = frozenset({"cls_attention", "features"})
    budget: BudgetScope = "crop"

    def select(self, tokens: VisualTokens) -> VisualTokens:
        features, attention = tokens.signals["features"].float(), tokens.signals["cls_attention"].float()
        count = self.count(tokens)
        group = _groups(features, max(1, (count + 1) // 4))  # (N,)
        unit = directions(features)
        others = unit.sum(0) - unit  # (N, C)
        mean = (unit * others).sum() / max(1, len(tokens) * (len(tokens) - 1))  # cosine of two tokens
        return tokens.take(_chosen(group, features, attention, (count + 1) / 32 * mean, count))


@loops_on_cpu
def _chosen(group: Tensor, features: Tensor, attention: Tensor, threshold: Tensor, count: int) -> Tensor:
    """(count,) indices of the tokens (N, C) of all groups (N,), duplicates being those above a threshold."""
    with_cls = count + 1
    ranked = [
        _ranked((group == g).nonzero()[:, 0], features, attention, threshold) for g in torch.unique(group)
    ]
    sizes, distinct = [len(order) for order, _ in ranked], [kept for _, kept in ranked]
    most = [min(5 * math.ceil(with_cls / 64), size, kept) for size, kept in zip(sizes, distinct, strict=True)]
    while sum(most) < min(with_cls, len(group)):
        most = [min(size, cap + 1) for size, cap in zip(sizes, most, strict=True)]
    counts = _shared_out(count, distinct, most)
    return torch.cat([order[:share] for (order, _), share in zip(ranked, counts, strict=True)])


def _shared_out(count: int, distinct: list[int], most: list[int]) -> list[int]:
    """How many of the `count` tokens each group gets: one, and of the rest a share in proportion to what is
    distinct in it, in whole tokens of the running sum, up to `most`. What is left over goes to those with
    most that is distinct, one after another.
    """
    running = torch.tensor(distinct).cumsum(0) / sum(distinct) * (count - len(distinct))
    whole = running.round().int()
    counts = [
        min(1 + more, cap) for more, cap in zip(whole.diff(prepend=whole[:1] * 0).tolist(), most, strict=True)
    ]
    for group in sorted(range(len(distinct)), key=lambda group: -distinct[group]):
        counts[group] += min(most[group] - counts[group], count - sum(counts))
    return counts


def _groups(features: Tensor, count: int) -> Tensor:
    """(N,) the principal component of the tokens (N, C) in which each weighs most, of the first `count` that
    explain anything.
    """
    squashed = with_doubles(features.sigmoid()).double()
    centered = squashed - squashed.mean(1, keepdim=True)  # (N, C)
    # Of the two matrices of products, that of channels and that of tokens, the smaller one.
    if len(centered) > centered.shape[1]:
        spread, vectors = torch.linalg.eigh(centered.T @ centered)
        components = centered @ vectors / spread.clamp(min=torch.finfo(spread.dtype).tiny).sqrt()
    else:
        spread, components = torch.linalg.eigh(centered @ centered.T)
    first = slice(-count, None)  # the largest come last
    explains = spread[first] > ROUNDING**2 * spread[-1]
    group: Tensor = components[:, first][:, explains | ~explains.any()].flip(1).abs().argmax(1)
    return group.to(features.device)


def _ranked(group: Tensor, features: Tensor, attention: Tensor, threshold: Tensor) -> tuple[Tensor, int]:
    """The tokens of a group, those before all that are no duplicate of one with more attention; and how many
    they are.
    """
    order = group[top_indices(attention[group], len(group))]
    is_double = (cosine(features.index_select(0, order)) > threshold).tolist()
    kept: list[int] = []
    for i in range(len(order)):
        if not any(is_double[i][j] for j in kept):
            kept.append(i)
    doubles = sorted(set(range(len(order))) - set(kept))
    return order[kept + doubles], len(kept)
