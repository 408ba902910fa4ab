"""PruneSID: group tokens by principal components, and keep of each group what is no duplicate.

"PruneSID: Prune Redundancy, Preserve Essence", https://arxiv.org/abs/2603.09480. Re-implemented from the
rule. Differs from the released code: the components are exact, not those of a randomized method; shares of
the budget are rounded by largest remainders; and [CLS] itself is not kept, since the model projects it
nowhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wordsight.algorithms.selection import cosine, split_budget, top_indices
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import Pruner

ROUNDING = 1e-5  # of the largest singular value: smaller ones are zeros, and their components arbitrary


@dataclass(kw_only=True)
class PruneSID(Pruner):
    """A quarter as many groups as tokens to keep."""

    required_signals: ClassVar[frozenset[str]] = frozenset({"cls_attention", "features"})

    def select(self, tokens: VisualTokens) -> VisualTokens:
        count = self.budget(tokens)
        features, attention = tokens.signals["features"].float(), tokens.signals["cls_attention"].float()
        group = _groups(features, max(1, count // 4))  # (N,)
        alike = cosine(features)
        pairs = alike.triu(1).sum() / max(1, len(tokens) * (len(tokens) - 1) / 2)
        ranked = [
            _ranked((group == g).nonzero()[:, 0], alike, attention, count / 32 * pairs)
            for g in torch.unique(group)
        ]
        sizes, distinct = [len(order) for order, _ in ranked], [kept for _, kept in ranked]
        most = [
            min(5 * math.ceil(count / 64), size, kept) for size, kept in zip(sizes, distinct, strict=True)
        ]
        while sum(most) < count:
            most = [min(size, cap + 1) for size, cap in zip(sizes, most, strict=True)]
        beyond = split_budget(count - len(most), distinct, [cap - 1 for cap in most])
        return tokens.take(
            torch.cat([order[: 1 + more] for (order, _), more in zip(ranked, beyond, strict=True)])
        )


def _groups(features: Tensor, count: int) -> Tensor:
    """(N,) the principal component of the tokens (N, C) in which each weighs most, of the first `count` that
    explain anything.
    """
    channels = features.sigmoid().T  # (C, N)
    _, spread, components = torch.linalg.svd(channels - channels.mean(0), full_matrices=False)
    explains = (spread > ROUNDING * spread[0])[:count]
    group: Tensor = components[:count][explains | ~explains.any()].abs().argmax(0)
    return group


def _ranked(group: Tensor, alike: Tensor, attention: Tensor, threshold: Tensor) -> tuple[Tensor, int]:
    """The tokens of a group, those before all that are no duplicate of one with more attention; and how many
    they are.
    """
    order = group[top_indices(attention[group], len(group))]
    is_double = (alike[order[:, None], order] > threshold).tolist()
    kept: list[int] = []
    for i in range(len(order)):
        if not any(is_double[i][j] for j in kept):
            kept.append(i)
    doubles = sorted(set(range(len(order))) - set(kept))
    return order[kept + doubles], len(kept)
