"""Tensors as the plain numbers of JSON: rounded for a reader, or exact for what is chosen by them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

DIGITS = 5  # of a number that is only read


def rounded(values: Tensor) -> list[Any]:
    """The values (N,) or (N, K) with as many digits as a reader needs."""
    if values.ndim > 1:
        return [rounded(row) for row in values]
    return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]


def exact(values: Tensor) -> list[float]:
    """The values (N,) as the shortest numbers that are theirs again when they are read as float32."""
    return [float(str(value)) for value in values.detach().float().cpu().numpy()]


def spoken(words: Iterable[str], chances: Tensor) -> list[list[Any]]:
    """Pairs of a word and its probability, as lists."""
    return [list(pair) for pair in zip(words, rounded(chances), strict=False)]
