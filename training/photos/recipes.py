"""The four recipes that are compared at equal training time, and the longer one of what ships."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """What a training run is told.

    silent    tokens that are not salient learn to say nothing: a supervision that the paper's models lack.
    windowed  the tower's attention is restricted to windows, and fine-tuned so.
    subsets   the language model also learns from random subsets of a picture's tokens.
    goes_on   answering goes on from where this other recipe ended, with more questions about several things.
    minutes   of processor time for answering.
    """

    silent: bool = False
    windowed: bool = False
    subsets: bool = True
    goes_on: str | None = None
    minutes: float = 40.0


RECIPES = {
    "a": Recipe(),  # names only
    "b": Recipe(silent=True),
    "c": Recipe(windowed=True),
    "d": Recipe(silent=True, subsets=False),
    "e": Recipe(silent=True, goes_on="b", minutes=200.0),
}
