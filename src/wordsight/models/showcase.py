"""What is shown of a model that comes with this package or an extra: pictures, and questions about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wordsight import demo
from wordsight.models import photos


@dataclass(frozen=True)
class Showcase:
    """A model, pictures in a folder with questions about each and their answers, and the pruners that leave
    tokens out, the best first.
    """

    model: str
    folder: Path
    questions: Mapping[str, Mapping[str, str]]
    pruners: tuple[str, ...]


def showcase(model: str) -> Showcase:
    """Photos for demo-photos, with whose codebook it comes; rendered scenes for any other model."""
    if model == photos.NAME:
        return Showcase(model, photos.pictures(), photos.QUESTIONS, ("codebook", "divprune"))
    return Showcase(model, demo.PICTURES, demo.QUESTIONS, ("divprune", "codebook"))
