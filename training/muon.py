"""Muon in float32: torch's own computes in bfloat16, which CPUs without that arithmetic emulate, many times
slower.
"""

from __future__ import annotations

import math
from collections import defaultdict

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.775, 2.0315)
ROUNDS, MOMENTUM = 5, 0.95


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal (https://kellerjordan.github.io/posts/muon/), with the
    learning rate of AdamW (https://arxiv.org/abs/2502.16982).
    """

    def __init__(self, matrices: list[nn.Parameter], *, lr: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            alike = defaultdict(list)  # matrices of one shape are made orthogonal together
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape].append(matrix)
            for shape, matrices in alike.items():
                updates = orthogonal(torch.stack([self._momentum(matrix) for matrix in matrices]))
                rate = group["lr"] * 0.2 * math.sqrt(max(shape))
                for matrix, update in zip(matrices, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=rate)

    def _momentum(self, matrix: nn.Parameter) -> Tensor:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        average: Tensor = state["momentum_buffer"].lerp_(matrix.grad, 1 - MOMENTUM)
        return matrix.grad.lerp(average, MOMENTUM)


def orthogonal(matrices: Tensor) -> Tensor:
    """(B, R, C) the nearly orthogonal matrices next to these, by Newton-Schulz iterations."""
    a, b, c = COEFFICIENTS
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ROUNDS):
        square = wide @ wide.mT
        wide = a * wide + (b * square + c * square @ square) @ wide
    return wide if matrices.shape[1] <= matrices.shape[2] else wide.mT
