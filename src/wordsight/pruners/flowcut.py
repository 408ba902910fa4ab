"""FlowCut: drop tokens layer by layer of the vision tower, by what information flows to and from them.

"FlowCut: Rethinking Redundancy via Information Flow for Efficient Vision-Language Models",
https://arxiv.org/abs/2505.19536. Re-implemented from the rule. Differs from the released code: the tower
reads all patches, so that it is no faster, and a patch that was dropped is only left out of every sum from
then on; and nothing is dropped inside the language model, as there for LLaVA-NeXT. Kept tokens stay where
they were, since closing the gaps ruins grounding (`positions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wordsight._utils.options import Fraction
from wordsight.algorithms.selection import loops_on_cpu, top_indices
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, Pruner
from wordsight.pruners.scopes import BudgetScope


@dataclass(kw_only=True)
class FlowCut(Pruner):
    """A token's score in a layer is the attention of [CLS] to it plus the similarity of its value to that of
    [CLS], each as a share of the sum over tokens, times the size of its value.

    momentum: how much the scores of earlier layers weigh. Every other layer drops the lowest, more of what is
    to go where attention is concentrated; the one before the layer that is projected drops the rest.
    """

    PUBLISHED = CONTIGUOUS
    required_signals: ClassVar[frozenset[str]] = frozenset(
        {"cls_attention_by_layer", "value_norm_by_layer", "value_similarity_by_layer"}
    )
    budget: BudgetScope = "crop"
    momentum: Fraction = 0.5

    def select(self, tokens: VisualTokens) -> VisualTokens:
        attention, size, similarity = (tokens.signals[n].float() for n in sorted(self.required_signals))
        return tokens.take(_left(attention, size, similarity, self.count(tokens), self.momentum))


@loops_on_cpu
def _left(attention: Tensor, size: Tensor, similarity: Tensor, count: int, momentum: float) -> Tensor:
    """(count,) indices of the tokens that no layer drops, of their signals (N, layers)."""
    left, flow = torch.arange(len(attention)), torch.zeros_like(attention[:, 0])
    layers = max(1, attention.shape[1] - 1)
    for layer in range(layers):
        if len(left) == count:
            break
        paid = _shares(attention[left, layer])
        score = (paid + _shares(similarity[left, layer])) * size[left, layer]
        weight = momentum if layer else 0.0
        flow[left] = weight * flow[left] + (1 - weight) * score
        later = layers - 1 - layer
        if later % 2 == 0:
            going = _going(paid, count, later) if later else len(left) - count
            left = left[top_indices(flow[left], max(len(left) - going, count)).sort().values]
    return left


def _shares(values: Tensor) -> Tensor:
    return values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)


def _going(paid: Tensor, count: int, later: int) -> int:
    """How many of the tokens beyond `count` go in a layer with so many after it, by shares of attention."""
    spread = torch.special.entr(paid).sum() / torch.tensor(float(len(paid))).log()  # 1 if all get the same
    return round(float((len(paid) - count) / later**0.5 * (1 - spread**2)))
