"""What one training run is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features import Features
from photos import Photo
from recipes import RECIPES, Recipe
from wheels import BUILD


@dataclass(frozen=True)
class Run:
    """A recipe and a seed, the photos and their features, the language model and its tokenizer."""

    letter: str
    seed: int
    photos: list[Photo]
    features: dict[str, Features]
    language: tuple[Any, Any]

    @property
    def recipe(self) -> Recipe:
        """What the run is told."""
        return RECIPES[self.letter]

    @property
    def singles(self) -> list[Features]:
        """The features of views that show one photo, whole photos first."""
        return [one for name, one in self.features.items() if not name.startswith("collages")]

    def file(self, stage: str) -> Path:
        """The checkpoint of a stage."""
        return BUILD / f"{stage}-{self.letter}-{self.seed}.pt"
