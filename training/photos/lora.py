"""LoRA on attention, as a parametrization of the weights: merging it is leaving the sum behind.

"LoRA: Low-Rank Adaptation of Large Language Models", https://arxiv.org/abs/2106.09685.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

RANK, ALPHA = 16, 32
ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj")


class LowRank(nn.Module):
    """A weight plus a product of two thin matrices, which is zero at first."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.a = nn.Parameter(torch.randn(RANK, columns) / math.sqrt(columns))
        self.b = nn.Parameter(torch.zeros(rows, RANK))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.b @ self.a * (ALPHA / RANK)


def adapt(language_model: Any) -> nn.ModuleList:
    """Freeze a language model but for new low-rank parts of its attention, which are returned."""
    language_model.requires_grad_(False)
    parts = nn.ModuleList()
    for layer in language_model.model.layers:
        for name in ADAPTED:
            linear = getattr(layer.self_attn, name)
            parts.append(LowRank(linear.weight))
            parametrize.register_parametrization(linear, "weight", parts[-1])
    return parts


def merge(language_model: Any) -> None:
    """Leave the sums behind as ordinary weights."""
    for layer in language_model.model.layers:
        for name in ADAPTED:
            parametrize.remove_parametrizations(getattr(layer.self_attn, name), "weight")
