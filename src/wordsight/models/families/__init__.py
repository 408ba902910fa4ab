"""Model families: one file per Hugging Face `model_type`, found by its name."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from wordsight._utils import registry
from wordsight.errors import UsageError
from wordsight.models.families.base import Family, Grid, VisionContext, inner_model
from wordsight.models.families.qwen2_vl import Qwen2VL

__all__ = ["Family", "family", "names"]

SHARED = ("base",)  # files that are no family
COMMON = {"input_ids", "attention_mask", "position_ids", "labels"}  # inputs that are not of a family


def names() -> list[str]:
    """The model types that are supported."""
    return registry.names(sys.modules[__name__])


def family(model_type: str) -> Family:
    """The family of this `model_type`; one that is not known still prunes, without a picture map."""
    if model_type not in names():
        warnings.warn(
            f"model type {model_type!r} has no picture map (those of {', '.join(names())} have): its tokens "
            "can be pruned and asked, but not drawn or taken from their neighborhood; CONTRIBUTING.md says "
            "how to add one",
            stacklevel=2,
        )
        return Unmapped()
    if point := registry.find_entry_point(sys.modules[__name__], model_type):
        found = registry.load_entry_point(point)
        if not isinstance(found, Family):
            raise UsageError(f"entry point {model_type} ({point.value}) is no Family; name an object of one")
        return found
    ours: Family = import_module(f"wordsight.models.families.{model_type}").FAMILY
    return ours


class Unmapped(Family):
    """A model type without a file: all tokens count as one row, and VLM reads its first prompt both ways."""

    is_known = False
    has_picture_map = False
    no_map = "its type is not known; CONTRIBUTING.md says how to add a family"

    def is_causal(self, model: Any) -> bool:
        """Nobody knows."""
        return False

    def token_inputs(self, model: Any, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """Whatever has a value for every token and is taken by the model, but what is there in any case."""
        shape = inputs["input_ids"].shape
        taken = set(inspect.signature(model.forward).parameters) - COMMON
        return {
            name: values[0]
            for name, values in inputs.items()
            if name in taken and isinstance(values, Tensor) and values.shape == shape
        }

    def grids(self, context: VisionContext) -> list[Grid]:
        return [Grid(0, 0, 1, sum(context.counts))]

    def projector(self, model: Any) -> nn.Module:
        """Whatever it is called, it is the first module of a known name; else all of the model counts."""
        names = (
            "multi_modal_projector",
            "connector",
            "aligner",
            "projector",
            "embed_vision",
            "language_projection",
        )
        inner: nn.Module = inner_model(model)
        found = (getattr(inner, name, None) for name in names)
        return next((module for module in found if isinstance(module, nn.Module)), inner)

    def positions(self, model: Any, inputs: Mapping[str, Any]) -> Tensor:
        if hasattr(inner_model(model), "get_rope_index"):
            return Qwen2VL().positions(model, inputs)
        return super().positions(model, inputs)
