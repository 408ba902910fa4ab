"""What is NaN or infinite is refused, by name, before anything is chosen, answered or measured by it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from torch import Tensor
from transformers import LogitsProcessor

from wordsight.errors import ModelError


def check_finite(where: str, values: Mapping[str, Tensor], model: Any = None) -> None:
    """Raises ModelError, which names the first of the values that are not all finite, and the first such
    weight of the model.
    """
    for name, one in values.items():
        if one.isfinite().all():
            continue
        weight = f", as are some of {found}" if (found := _broken_weight(model)) else ""
        raise ModelError(
            f"{where}: some values of {name} are NaN or infinite{weight}; "
            "is the checkpoint damaged, or its dtype too narrow? try bfloat16 or float32"
        )


def check_logits(where: str, logits: Tensor, model: Any) -> None:
    """Raises ModelError for logits (B, V) that have no largest; some may be minus infinity."""
    check_finite(where, {"its logits": logits.max(-1).values}, model)


class FiniteLogits(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped here
    """Changes nothing; raises ModelError when a step of an answer has logits that are not finite."""

    def __init__(self, where: str, model: Any) -> None:
        self.where, self.model = where, model

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        check_logits(self.where, scores, self.model)
        return scores


def _broken_weight(model: Any) -> str:
    """The name of the first weight that is not finite; reads all of them."""
    weights = chain(model.named_parameters(), model.named_buffers()) if model else ()
    return next(
        (
            name
            for name, one in weights
            if one.is_floating_point() and not one.is_meta and not _is_finite(one)
        ),
        "",
    )


def _is_finite(weight: Tensor) -> bool:
    return bool(weight.detach().float().isfinite().all())  # of 8 bits, floats have no isfinite of their own
