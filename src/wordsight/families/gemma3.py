"""Gemma 3: one square grid per picture; the tokens of a picture read each other in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from wordsight.families.base import Family, Grid, Seen, square_grids


class Gemma3(Family):
    """model_type "gemma3"."""

    per_token = ("token_type_ids",)
    said: ClassVar[Mapping[str, int]] = {"token_type_ids": 0}
    causal = False

    def grids(self, seen: Seen) -> list[Grid]:
        return square_grids(seen)


FAMILY = Gemma3()
