"""Compaction: what a codebook without its repetitions prunes otherwise, on pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated

import torch
from typing_extensions import NotRequired, TypedDict

from wordsight._utils.progress import track
from wordsight.media.images import load_picture
from wordsight.models.tokens import VisualTokens
from wordsight.models.vlm import VLM
from wordsight.pruners.codebook import CodebookPruner
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.probe import QUESTION

FORMAT = 1
KEEPS = (0.5, 0.2, 0.1, 0.05)


class PrototypeCounts(TypedDict):
    """How many prototypes a book has."""

    before: int
    after: int


class Fall(TypedDict):
    """How far the redundancy of tokens falls."""

    largest_fall: float
    mean_fall: float


class KeptByBoth(TypedDict):
    """Of the tokens that the whole book keeps, the share that the compact one keeps too."""

    keep: float
    by_both: Annotated[float, "mean over pictures"]
    least: Annotated[float, "in the worst picture"]


class BookComparison(TypedDict):
    """What a compact book changes on pictures."""

    pictures: int
    tokens: int
    redundancy: Fall
    kept: list[KeptByBoth]


class Compaction(TypedDict):
    """What `wordsight codebook compact` does: which prototypes stay, and what that changes."""

    format: int
    prototypes: PrototypeCounts
    similarity: Annotated[float, "the cosine from which one prototype repeats another"]
    largest_fall_possible: Annotated[float, "of a token's redundancy, whatever the picture"]
    on_pictures: NotRequired[Annotated[BookComparison, "if pictures were given"]]
    skipped: NotRequired[Annotated[dict[str, str], "the pictures that could not be read, and why"]]


def describe_compaction(whole: Codebook, compact: Codebook, similarity: float) -> Compaction:
    """What is known of a compaction without a picture."""
    return {
        "format": FORMAT,
        "prototypes": {"before": len(whole.prototypes), "after": len(compact.prototypes)},
        "similarity": similarity,
        "largest_fall_possible": largest_fall(similarity),
    }


def compare_codebooks(
    vlm: VLM, whole: Codebook, compact: Codebook, pictures: Sequence[Path], keeps: Sequence[float] = KEEPS
) -> BookComparison:
    """What the compact book changes on these pictures.

    "redundancy" is how far it fell, at most and on average over tokens; "kept", at every keep, what share
    of the tokens that the whole book keeps the compact one keeps too: mean and least over pictures. Two
    sets drawn at random would share `keep`.
    """
    whole.check(vlm)
    compact.check(vlm)
    falls: list[torch.Tensor] = []
    both: dict[float, list[float]] = {keep: [] for keep in keeps}
    for path in track(pictures, "comparing both books", len(pictures)):
        tokens = vlm.encode(load_picture(path), QUESTION).visual
        tokens = tokens.without_breaks()
        falls.append(whole.redundancy(tokens.embeds) - compact.redundancy(tokens.embeds))
        for keep in keeps:
            both[keep].append(_kept_by_both(tokens, whole, compact, keep))
    fall = torch.cat(falls)
    return {
        "pictures": len(pictures),
        "tokens": len(fall),
        "redundancy": {"largest_fall": float(fall.max()), "mean_fall": float(fall.mean())},
        "kept": [
            {"keep": keep, "by_both": fmean(shares), "least": min(shares)} for keep, shares in both.items()
        ],
    }


def largest_fall(similarity: float) -> float:
    """How far compacting at this cosine may lower a token's redundancy, at most."""
    return math.sqrt(2 - 2 * similarity)


def _kept_by_both(tokens: VisualTokens, whole: Codebook, compact: Codebook, keep: float) -> float:
    """The share of the tokens that the whole book keeps that the compact one keeps too."""
    first, second = (
        set(CodebookPruner(keep=keep, codebook=book).prune(tokens).slot.tolist()) for book in (whole, compact)
    )
    return len(first & second) / len(first)
