"""LoRA on attention: thin matrices beside frozen ones, added to them in the end.

"LoRA: Low-Rank Adaptation of Large Language Models", https://arxiv.org/abs/2106.09685.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

RANK, ALPHA = 16, 32
ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj")


class LowRank(nn.Module):
    """A product of two thin matrices, which is zero at first."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(RANK, columns) / math.sqrt(columns))
        self.b = nn.Parameter(torch.zeros(rows, RANK))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.a.T @ self.b.T * (ALPHA / RANK)

    def product(self) -> Tensor:
        """What it adds to a weight."""
        return self.b @ self.a * (ALPHA / RANK)


def adapt(language_model: Any) -> nn.ModuleList:
    """Freeze a language model but for new low-rank parts of its attention, which are returned."""
    language_model.requires_grad_(False)
    parts = fresh(language_model)
    for linear, part in zip(_linears(language_model), parts, strict=True):
        linear.register_forward_hook(lambda _, given, made, part=part: made + part(given[0]))
    return parts


def fresh(language_model: Any) -> nn.ModuleList:
    """A part for every linear layer of the attention of a language model, not yet beside it."""
    return nn.ModuleList(LowRank(one.out_features, one.in_features) for one in _linears(language_model))


@torch.no_grad()
def merge(language_model: Any, parts: nn.ModuleList) -> None:
    """Add the parts to the weights of a language model that was not adapted."""
    for linear, part in zip(_linears(language_model), parts, strict=True):
        linear.weight.add_(part.product())


def _linears(language_model: Any) -> list[nn.Linear]:
    return [getattr(layer.self_attn, name) for layer in language_model.model.layers for name in ADAPTED]
