"""Numbers for a reader, as text or JSON: rounded, or exact for what is chosen by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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


def signed(difference: Iterable[float | None] | None) -> str:
    """A difference with its interval, empty if there is none."""
    return "" if difference is None else with_interval(*difference, form="{:+.3f}".format)


def with_interval(
    mean: float | None, low: float | None, high: float | None, *, form: Callable[[float], str]
) -> str:
    """A mean with its interval, which one picture has not; a dash if there is no mean."""
    if mean is None:
        return "-"
    if low is None or high is None:
        return f"{form(mean)} [one picture]"
    return f"{form(mean)} [{form(low)}, {form(high)}]"


def counted(count: int, noun: str) -> str:
    """A number of things, as "1 picture" or "2 pictures"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
