"""Uniform: keep an even grid of tokens in every image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from wordsight.algorithms.selection import split_budget
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import Pruner


@dataclass(kw_only=True)
class Uniform(Pruner):
    """Evenly spaced rows, and evenly spaced tokens in each of them."""

    def select(self, tokens: VisualTokens) -> VisualTokens:
        budget = self.count(tokens)
        crops = torch.unique_consecutive(tokens.cell[:, :2], dim=0, return_inverse=True)[1]
        sizes = crops.bincount().tolist()
        chosen = []
        for crop, count in enumerate(split_budget(budget, sizes, sizes)):
            places = (crops == crop).nonzero()[:, 0]
            chosen.append(places[_grid(tokens.cell[places, 2], count)])
        return tokens.take(torch.cat(chosen))


def _grid(row: Tensor, count: int) -> Tensor:
    """Indices of `count` tokens spread over the rows they are in (N,), the same number in each as far as it
    goes.
    """
    sizes = torch.unique_consecutive(row, return_counts=True)[1].tolist()
    height, width = len(sizes), max(sizes)
    rows = min(height, max(math.ceil(count / width), round(math.sqrt(count * height / width))))
    used = [int((i + 0.5) * height / rows) for i in range(rows)] if rows else []
    chosen: list[int] = []
    for i, place in enumerate(used):
        wanted = min(sizes[place], (count * (i + 1)) // rows - (count * i) // rows)
        start = sum(sizes[:place])
        chosen += [start + int((j + 0.5) * sizes[place] / wanted) for j in range(wanted)]
    # Rows of different lengths may leave some of the count: it is spread over what is left.
    rest = sorted(set(range(len(row))) - set(chosen))
    short = count - len(chosen)
    chosen += [rest[int((j + 0.5) * len(rest) / short)] for j in range(short)]
    return torch.tensor(chosen, dtype=torch.long, device=row.device)
