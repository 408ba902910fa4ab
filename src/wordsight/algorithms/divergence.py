"""How far two answers are apart: divergences of first-word logits.

`released_divergence` is the formula of the released code of "Beyond Intermediate States: Explaining Visual
Redundancy through Language", https://arxiv.org/abs/2503.20540, `jensen_shannon` the textbook one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Divergence = Callable[[Tensor, Tensor], Tensor]
TOP = 10  # words that divergences are over


def jensen_shannon(intact: Tensor, ablated: Tensor, top: int = TOP) -> Tensor:
    """The Jensen-Shannon divergence of logits (..., V) in nats, in [0, ln 2], shape (...).

    Both are softmaxed over the `top` vocabulary entries that are likeliest in `intact`.
    """
    p, q = _over_top(intact, ablated, top)
    middle = (p + q) / 2
    divergence: Tensor = (_relative(p, middle) + _relative(q, middle)).sum(-1).clamp(min=0) / 2
    return divergence


def released_divergence(intact: Tensor, ablated: Tensor, top: int = TOP) -> Tensor:
    """What the authors' code computes: both KL terms reversed, and the mean over the entries instead of
    their sum.

    About a tenth of a Jensen-Shannon divergence; the published thresholds (2e-3) belong to this formula.
    """
    p, q = _over_top(intact, ablated, top)
    middle = (p + q) / 2
    divergence: Tensor = (_relative(middle, p) + _relative(middle, q)).mean(-1) / 2
    return divergence


def _over_top(intact: Tensor, ablated: Tensor, top: int) -> tuple[Tensor, Tensor]:
    best = intact.topk(min(top, intact.shape[-1]), -1).indices
    return intact.gather(-1, best).double().softmax(-1), ablated.gather(-1, best).double().softmax(-1)


def _relative(p: Tensor, q: Tensor) -> Tensor:
    """The terms of KL(p || q), with 0 log 0 = 0."""
    return torch.xlogy(p, p) - torch.xlogy(p, q)


MEASURES: dict[str, Divergence] = {
    "jensen_shannon": jensen_shannon,
    "released_divergence": released_divergence,
}
