"""Progress of long work, reported to whoever asked for it; the library itself prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """What is being done, and the shares in [0, 1] that are done of it and of all the work."""

    description: str
    done: float
    overall: float


ProgressCallback = Callable[[Progress], None]


@dataclass
class _Span:
    """The part of all work that is being done: where it begins and how much it is, as shares of all.

    `named` is the innermost part that has a description: that, its beginning and its size.
    """

    callback: ProgressCallback
    found: Callable[[Any], None]
    start: float = 0.0
    size: float = 1.0
    named: tuple[str, float, float] = ("", 0.0, 1.0)

    def report(self, share: float) -> None:
        description, start, size = self.named
        self.callback(Progress(description, (share - start) / size, share))


_current: ContextVar[_Span | None] = ContextVar("the work whose progress is reported", default=None)


@contextmanager
def report_progress(
    callback: ProgressCallback, found: Callable[[Any], None] = lambda part: None
) -> Iterator[None]:
    """While open, what this thread does is reported to `callback`, as its parts begin and end; `found` gets
    the parts of a result that some work has before all of it.

    What the callbacks raise ends the work.

    >>> with report_progress(lambda progress: print(f"{progress.overall:.0%} {progress.description}")):
    ...     compare(vlm, tasks, pruners)
    """
    token = _current.set(_Span(callback, found))
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def subtask(number: int, total: int, description: str | None = None) -> Iterator[None]:
    """The block is one of `total` equal parts of the work, counted from 0; parts may have parts."""
    span = _current.get()
    if span is None:
        yield
        return
    start, size, named = span.start, span.size, span.named
    span.start, span.size = start + number * size / total, size / total
    if description is not None:
        span.named = (description, span.start, span.size)
    try:
        span.report(span.start)
        yield
        span.report(span.start + span.size)
    finally:
        span.start, span.size, span.named = start, size, named


def report_found(part: Any) -> None:
    """Give a part of the result to whoever asked for progress."""
    if span := _current.get():
        span.found(part)


def track(work: Iterable[T], description: str, total: int) -> Iterator[T]:
    """The same items, each a part of work that has a description."""
    with subtask(0, 1, description):
        yield from subtasks(work, total)


def subtasks(work: Iterable[T], total: int) -> Iterator[T]:
    """The same items, each a part of the work."""
    items = iter(work)
    for i in range(total):
        with subtask(i, total):
            try:
                item = next(items)  # it may be made only now
            except StopIteration:
                return
            yield item
    yield from items
