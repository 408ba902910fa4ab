"""Gemma 3: one square grid per picture; the tokens of a picture read each other in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from wordsight.families.base import Family


class Gemma3(Family):
    """model_type "gemma3"."""

    per_token = ("token_type_ids",)
    said: ClassVar[Mapping[str, int]] = {"token_type_ids": 0}
    causal = False


FAMILY = Gemma3()
