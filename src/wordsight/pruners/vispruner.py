"""VisPruner: keep the patches that [CLS] attends to, and of the others those that are no duplicates.

"Beyond Text-Visual Attention: Exploiting Visual Cues for Effective Token Pruning in VLMs",
https://arxiv.org/abs/2412.01818. Re-implemented from the rule. Differs from the released code: an odd number
of tokens works too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wordsight._utils.options import Fraction
from wordsight.algorithms.selection import BLOCK, directions, most_similar, top_indices
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import Pruner

AT_ONCE = 8  # duplicates dropped in a round
NEAREST = 64  # tokens that are looked through before all are


@dataclass(kw_only=True)
class VisPruner(Pruner):
    """important: the share of the kept tokens that are chosen by attention, in [0, 1]."""

    required_signals: ClassVar[frozenset[str]] = frozenset({"cls_attention", "features"})
    important: Fraction = 0.5

    def select(self, tokens: VisualTokens) -> VisualTokens:
        count = self.budget(tokens)
        best = top_indices(tokens.signals["cls_attention"], len(tokens))
        important = int(count * self.important)
        rest = best[important:]
        distinct = _distinct(tokens.signals["features"][rest], count - important)
        return tokens.take(torch.cat([best[:important], rest[distinct]]))


def _distinct(features: Tensor, count: int) -> Tensor:
    """The `count` of the tokens (N, C) that are left when, in rounds, those of every other token go that are
    most similar to one of those between.
    """
    left = torch.arange(len(features), device=features.device)
    near = _Nearest(features)
    while len(left) > count:
        ours, others = left[::2], left[1::2]
        if not len(others):
            return left[:count]
        order = top_indices(near.most_similar(ours, others), len(ours))
        going = min(AT_ONCE, len(left) - count, len(ours))
        left = torch.cat([ours[order[going:]], others])
    return left


class _Nearest:
    """The nearest of every token's (N, C) others, which most often hold the most similar of any half."""

    def __init__(self, features: Tensor) -> None:
        self.features, unit = features, directions(features)
        wanted = min(NEAREST, len(unit))
        found = [(rows @ unit.T).topk(wanted) for rows in torch.split(unit, BLOCK)]
        self.cosines = torch.cat([each.values for each in found])  # (N, NEAREST), highest first
        self.indices = torch.cat([each.indices for each in found])

    def most_similar(self, ours: Tensor, others: Tensor) -> Tensor:
        """(K,) the highest cosine of each of ours (K,) with one of the others, which are other tokens."""
        is_other = torch.zeros(len(self.features), dtype=torch.bool, device=ours.device)
        is_other[others] = True
        found = is_other[self.indices[ours]]  # (ours, NEAREST)
        best = self.cosines[ours, found.int().argmax(-1)]
        far = (~found.any(-1)).nonzero()[:, 0]
        best[far] = most_similar(self.features[ours[far]], self.features[others])[0]
        return best
