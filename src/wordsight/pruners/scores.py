"""Scores: keep the tokens to which another program gave the highest scores.

Ours, no paper: a door for scorers that were trained elsewhere, such as VisionSelector
(https://arxiv.org/abs/2510.16598), so that they can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from wordsight._utils.artifacts import read_safetensors, tensors_digest
from wordsight._utils.numbers import counted
from wordsight.errors import FileError, UsageError
from wordsight.models.picture_keys import PICTURE_SIGNALS, picture_key
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import ScorePruner

EXPECTED = (
    "expected a safetensors file with the scores (tokens,) of each picture under its wordsight.picture_digest"
)
Function = Annotated[Callable[[VisualTokens], Tensor], "a function of VisualTokens"]


@dataclass(kw_only=True)
class Scores(ScorePruner):
    """file: a safetensors file that has a score for every token of a picture, in reading order without line
    breaks, under the picture's `picture_digest`; or a function that scores VisualTokens (N,).

    The frames of films have one row of scores together, under the sha256 of their digests.
    """

    file: str | Function
    found: Mapping[str, Tensor] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.found = _read(Path(self.file)) if isinstance(self.file, str) else {}

    @property
    def required_signals(self) -> frozenset[str]:  # type: ignore[override]  # a function needs none
        """The picture of each token, if scores are looked up by it."""
        return PICTURE_SIGNALS if isinstance(self.file, str) else frozenset()

    @property
    def digest(self) -> str | None:
        return tensors_digest(self.found) if self.found else None

    def score(self, tokens: VisualTokens) -> Tensor:
        if not isinstance(self.file, str):
            return self.file(tokens)
        keys = tokens.signals["picture"]
        pictures, number = torch.unique(keys[:, :4], dim=0, return_inverse=True)
        scores = torch.empty(len(tokens), device=keys.device)
        for i, row in enumerate(pictures):
            here = number == i
            place, count = keys[here, 4], int(keys[here, 5][0])
            scores[here] = self._of(picture_key(row), count).to(scores)[place]
        return scores

    def _of(self, key: str, count: int) -> Tensor:
        """The scores of a picture of so many tokens."""
        if key not in self.found:
            raise UsageError(
                f"{self.file} has scores of {counted(len(self.found), 'picture')}, but none of {key}: "
                f"{EXPECTED}"
            )
        if len(self.found[key]) != count:
            raise UsageError(
                f"{self.file} has {len(self.found[key]):,} scores of the picture {key}, of which this model "
                f"reads {count:,} tokens: expected one for each, in reading order without line breaks"
            )
        return self.found[key]


def _read(path: Path) -> dict[str, Tensor]:
    """The scores of each picture. Raises FileError if the file holds anything else."""
    found = read_safetensors(path, EXPECTED)
    for name, scores in found.items():
        if not re.fullmatch("[0-9a-f]{64}", name):
            raise FileError(f"{path} holds {name!r}, which is no digest of a picture: {EXPECTED}")
        if scores.ndim != 1 or not scores.isfinite().all():
            raise FileError(
                f"{path} holds for {name} what are no scores, a tensor of shape {tuple(scores.shape)}"
                f"{'' if scores.ndim != 1 else ' that is not all finite'}: {EXPECTED}"
            )
    if not found:
        raise FileError(f"{path} is empty: {EXPECTED}")
    return found
