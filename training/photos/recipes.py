"""The four recipes that are compared at equal training time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """What a training run is told.

    silent    tokens that are not salient learn to say nothing: a supervision that the paper's models lack.
    windowed  the tower's attention is restricted to windows, and fine-tuned so.
    subsets   the language model also learns from random subsets of a picture's tokens.
    """

    silent: bool = False
    windowed: bool = False
    subsets: bool = True


RECIPES = {
    "a": Recipe(),  # names only
    "b": Recipe(silent=True),
    "c": Recipe(windowed=True),
    "d": Recipe(silent=True, subsets=False),
}
