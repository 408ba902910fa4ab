"""Numbers for a reader, as text or JSON: rounded, or exact for what is chosen by them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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


def word_pairs(words: Iterable[str], chances: Tensor) -> list[list[Any]]:
    """Pairs of a word and its probability, as lists."""
    return [list(pair) for pair in zip(words, rounded(chances), strict=False)]


def percent(share: float | None) -> str:
    """A share in percent, a dash if there is none."""
    return "-" if share is None else f"{share:.0%}"


def signed(difference: Iterable[float] | None) -> str:
    """A difference with its interval, empty if there is none."""
    if difference is None:
        return ""
    mean, low, high = difference
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def counted(count: int, noun: str) -> str:
    """A number of things, as "1 picture" or "2,000 pictures"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
