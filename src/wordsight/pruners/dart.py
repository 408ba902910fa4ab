"""DART: keep a few pivot tokens, and those that are least like them.

"Stop Looking for Important Tokens in Multimodal Language Models: Duplication Matters More",
https://arxiv.org/abs/2502.11494. Re-implemented from the paper and the scripts, which have 4 + 4 pivots.
Differs from the released code in two choices of it that are none of the paper, and that `order` and
`rounding` have, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from wordsight._utils.options import Rounding, Share
from wordsight.algorithms.selection import top_indices
from wordsight.errors import UsageError
from wordsight.models.layer_state import LayerState
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.layerwise import LayerPruner


@dataclass(kw_only=True)
class DART(LayerPruner):
    """Pivots have the largest keys, by L1 norm over all heads, of the visual tokens and of the text after
    them; each in turn keeps the tokens whose states, after the model's final norm, have the lowest cosine to
    its own.

    layer: how many layers read all tokens, in a model of any depth. The default keeps 128 of 576 tokens, the
    middle one of the paper's budgets. order: whose turn it is, by "size", the visual ones first, or as in
    released code by how a "set" of places in CPython is ordered, which means nothing. rounding: "exact" deals
    out what the visual pivots leave of the budget, one more to the first pivots; "released" deals out all of
    it, rounded down, beside the visual pivots, which is more or less than the budget.
    """

    PUBLISHED: ClassVar = {"order": "set", "rounding": "released"}
    keep: Share = 0.222
    layer: int = 2
    visual_pivots: Annotated[int, Ge(0)] = 4
    text_pivots: Annotated[int, Ge(0)] = 4
    order: Literal["size", "set"] = "size"
    rounding: Rounding = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.visual_pivots + self.text_pivots:
            raise UsageError("expected at least one pivot, got visual_pivots=0 and text_pivots=0")

    def layers(self, depth: int) -> Sequence[int]:
        return (self.layer,)

    def counts(self, tokens: VisualTokens) -> Sequence[int]:
        count, pivots = self.count(tokens), self.visual_pivots + self.text_pivots
        if self.rounding == "released":
            count = min(self.visual_pivots + count // pivots * pivots, len(tokens))
        return (count,)

    def prune_layer(self, state: LayerState, count: int) -> LayerState:
        sizes = state.attention.keys.float().abs().sum((0, 2))  # (L,)
        text = torch.arange(int(state.visual[-1]) + 1, len(sizes), device=sizes.device)
        chosen = top_indices(sizes[state.visual], min(self.visual_pivots, count))
        pivots = torch.cat([state.visual[chosen], text[top_indices(sizes[text], self.text_pivots)]])
        if self.order == "set":
            pivots = pivots.new_tensor(list(set(pivots.tolist()).copy()))
        states = torch.nn.functional.normalize(state.final_norm(state.hidden).float(), dim=-1)
        alike = states[pivots] @ states[state.visual].T  # (P, N)
        return state.take(least_alike(alike, chosen, count))


def least_alike(alike: Tensor, chosen: Tensor, count: int) -> Tensor:
    """(count,) indices: those chosen, and for each row of likeness (P, N) in turn an equal number of those
    left that are lowest in it.
    """
    share, more = divmod(count - len(chosen), len(alike))
    for i, row in enumerate(alike.clone()):
        row[chosen] = torch.inf
        chosen = torch.cat([chosen, top_indices(-row, share + (i < more))])
    return chosen
