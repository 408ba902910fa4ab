"""HiPrune: keep what a middle layer of the vision tower attends to, its neighbors, and what a deep one does.

"HiPrune: Training-Free Visual Token Pruning via Hierarchical Attention in Vision-Language Models",
https://arxiv.org/abs/2508.00553. Re-implemented from the rule. The released code takes for neighbors what is
one token, or one row, away in reading order, so that beside an edge of the picture lies its other edge, which
is no rule of the paper: `neighbors=reading_order`. Differs from it in that there are never more of them than
the budget. Kept tokens stay where they were, since closing the gaps ruins grounding (`positions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from wordsight._utils.options import Fraction
from wordsight.algorithms.selection import top_indices
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, Pruner
from wordsight.pruners.scopes import BudgetScope

AROUND = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))  # rows and columns from an anchor, itself first


@dataclass(kw_only=True)
class HiPrune(Pruner):
    """alpha: the share of the kept tokens, in [0, 1], that are anchors and their four neighbors; the rest are
    those that get most attention in the layer that is projected.

    object_depth: which layer of the tower chooses the anchors, as a share of those up to the one that is
    projected: the 9th of CLIP's 24. The authors' 16th of the 32 of Qwen2.5-VL is 0.5.

    neighbors: those on the "grid", or those in "reading_order", as in the released code.
    """

    PUBLISHED: ClassVar = {**CONTIGUOUS, "neighbors": "reading_order"}
    required_signals: ClassVar[frozenset[str]] = frozenset({"received_attention_by_layer"})
    budget: BudgetScope = "crop"
    alpha: Fraction = 0.1
    object_depth: Fraction = 9 / 24
    neighbors: Literal["grid", "reading_order"] = "grid"

    def select(self, tokens: VisualTokens) -> VisualTokens:
        count = self.count(tokens)
        attention = tokens.signals["received_attention_by_layer"].float()  # (N, layers)
        middle = max(1, round(self.object_depth * attention.shape[1])) - 1
        anchors = top_indices(attention[:, middle], round(count * self.alpha / len(AROUND)))
        with_neighbors = _on_grid if self.neighbors == "grid" else _in_reading_order
        chosen = with_neighbors(tokens.cell.tolist(), anchors.tolist())[:count]
        rest = attention[:, -1].clone()
        rest[chosen] = -torch.inf
        registers = top_indices(rest, count - len(chosen))
        return tokens.take(torch.cat([registers.new_tensor(chosen), registers]))


def _on_grid(cells: list[list[int]], anchors: list[int]) -> list[int]:
    """The anchors, then the tokens beside them, each once."""
    places = {tuple(cell): i for i, cell in enumerate(cells)}
    found = [
        places.get((*cells[i][:2], cells[i][2] + down, cells[i][3] + right))
        for down, right in AROUND
        for i in anchors
    ]
    return list(dict.fromkeys(i for i in found if i is not None))


def _in_reading_order(cells: list[list[int]], anchors: list[int]) -> list[int]:
    """The same of tokens one or one row away in reading order, the first and the last instead of none."""
    row = sum(cell[:3] == cells[0][:3] for cell in cells)
    found = [min(max(i + down * row + right, 0), len(cells) - 1) for down, right in AROUND for i in anchors]
    return list(dict.fromkeys(found))
