"""VisPruner: keep the patches that [CLS] attends to, and of the others those that are no duplicates.

"Beyond Text-Visual Attention: Exploiting Visual Cues for Effective Token Pruning in VLMs",
https://arxiv.org/abs/2412.01818. Re-implemented from the rule. Differs from the released code: an odd number
of tokens works too. Kept tokens stay where they were, since closing the gaps ruins grounding (`positions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wordsight._utils.options import Fraction
from wordsight.algorithms.selection import BLOCK, directions, loops_on_cpu, top_indices
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, Pruner
from wordsight.pruners.scopes import BudgetScope

AT_ONCE = 8  # duplicates dropped in a round
NEAREST = 32  # tokens that are looked through before all are


@dataclass(kw_only=True)
class VisPruner(Pruner):
    """important: the share of the kept tokens that are chosen by attention, in [0, 1]."""

    PUBLISHED = CONTIGUOUS
    required_signals: ClassVar[frozenset[str]] = frozenset({"cls_attention", "features"})
    budget: BudgetScope = "crop"
    important: Fraction = 0.5

    def select(self, tokens: VisualTokens) -> VisualTokens:
        count = self.count(tokens)
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
    while len(left) > count:
        left = left[_thinned(features[left], count)]
    return left


def _thinned(features: Tensor, count: int) -> Tensor:
    """The tokens that are left when, in such rounds, half or all but `count` have gone."""
    unit = directions(features)
    near = [(rows @ unit.T).topk(min(NEAREST, len(unit))) for rows in torch.split(unit, BLOCK)]
    cosines = torch.cat([each.values for each in near])  # (N, NEAREST)
    indices = torch.cat([each.indices for each in near])
    return _after_rounds(unit, cosines, indices, count)


@loops_on_cpu
def _after_rounds(unit: Tensor, cosines: Tensor, indices: Tensor, count: int) -> Tensor:
    """The same, of the tokens' directions (N, C), and the cosines of each with those most similar to it and
    their indices (N, NEAREST).
    """
    near, nearest = cosines.numpy(), indices.numpy()
    left: NDArray[np.int64] = np.arange(len(unit))
    while len(left) > max(count, len(unit) // 2):
        ours, others = left[::2], left[1::2]
        if not len(others):
            left = left[:count]
            break
        penalty = np.full(len(unit), -4, dtype=near.dtype)  # of what is none of the others
        penalty[others] = 0
        likeness = near.take(ours, 0) + penalty.take(nearest.take(ours, 0))  # (ours, NEAREST)
        highest = torch.from_numpy(likeness).amax(-1).numpy()
        far = np.flatnonzero(highest < -2)  # which have none of the others near
        if len(far):
            highest[far] = (unit[ours[far]] @ unit[others].T).amax(-1)
        order = top_indices(torch.from_numpy(highest), len(ours)).numpy()
        going = min(AT_ONCE, len(left) - count, len(ours))
        left = np.concatenate([ours[order[going:]], others])
    return torch.from_numpy(left)
