"""Progress of long work, on stderr, where somebody is there to see it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def watched(work: Iterable[T], description: str, total: int) -> Iterable[T]:
    """The same items, with a progress bar if stderr is a terminal."""
    console = Console(stderr=True)
    return track(work, description, total=total, console=console, disable=not console.is_terminal)
