"""Progress of long work: on stderr, where somebody is there to see it, or told to whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def watched(work: Iterable[T], description: str, total: int) -> Iterable[T]:
    """The same items, with a progress bar if stderr is a terminal."""
    console = Console(stderr=True)
    disable = not console.is_terminal
    return track(told(work, total), description, total=total, console=console, disable=disable)


def told(work: Iterable[T], total: int) -> Iterator[T]:
    """The same items, each a part of the work (`part`), without a bar: for what goes on inside of it."""
    items = iter(work)
    for i in range(total):
        with part(i, total):
            try:
                item = next(items)  # it may be made only now
            except StopIteration:
                return
            yield item
    yield from items


@dataclass
class _Stretch:
    """The part of all work that is being done: where it begins and how much it is, as shares of all."""

    listen: Callable[[float], None]
    start: float = 0.0
    size: float = 1.0


_now: ContextVar[_Stretch | None] = ContextVar("the work that somebody listens to", default=None)


@contextmanager
def heard(listen: Callable[[float], None]) -> Iterator[None]:
    """Tell `listen` the share of the block's work that is done, in [0, 1], as its parts begin and end.

    Only this thread's work is told. What `listen` raises ends the work.
    """
    token = _now.set(_Stretch(listen))
    try:
        yield
    finally:
        _now.reset(token)


@contextmanager
def part(number: int, total: int) -> Iterator[None]:
    """The block is one of `total` equal parts of the work, counted from 0; parts may have parts."""
    now = _now.get()
    if now is None:
        yield
        return
    start, size = now.start, now.size
    now.start, now.size = start + number * size / total, size / total
    try:
        now.listen(now.start)
        yield
        now.listen(now.start + now.size)
    finally:
        now.start, now.size = start, size
