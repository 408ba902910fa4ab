"""The four recipes that are compared after equal work, and the longer one of what ships."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """What a training run is told.

    silent    tokens that are not salient learn to say nothing: a supervision that the paper's models lack.
    windowed  the tower's attention is restricted to windows, and fine-tuned so.
    subsets   the language model also learns from random subsets of a picture's tokens.
    goes_on   answering goes on from where this other recipe ended, with more questions about several things.
    steps     of answering, of 8 conversations or of as many prompts of few tokens as cost the same.
    """

    silent: bool = False
    windowed: bool = False
    subsets: bool = True
    goes_on: str | None = None
    steps: int = 333


RECIPES = {
    "a": Recipe(),  # names only
    "b": Recipe(silent=True),
    "c": Recipe(windowed=True),
    "d": Recipe(silent=True, subsets=False, steps=320),  # which read 1.04 times as many tokens, padding too
    "e": Recipe(silent=True, goes_on="b", steps=1453),
}
