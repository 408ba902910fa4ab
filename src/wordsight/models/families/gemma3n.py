"""Gemma 3n: one square grid per picture, of a convolutional tower; layers share keys and values."""

from __future__ import annotations

from typing import Any

from torch import nn

from wordsight.models.families.base import Family


class Gemma3n(Family):
    """model_type "gemma3n". Its tower has no attention of patches, so that no signals are read."""

    def projector(self, model: Any) -> nn.Module:
        projector: nn.Module = model.model.embed_vision
        return projector


FAMILY = Gemma3n()
