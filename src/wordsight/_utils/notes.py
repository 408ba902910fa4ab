"""Notes: what was assumed on the way to a result, told to whoever listens; else they are warnings."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from wordsight.errors import MediaNote, Note

_listener: ContextVar[Callable[[str], None] | None] = ContextVar("who is told notes", default=None)


def note(text: str, kind: type[Note] = MediaNote) -> None:
    """Tell a sentence to the innermost `listen_to_notes` of this thread; without one it is a warning."""
    listener = _listener.get()
    if listener is None:
        warnings.warn(text, kind, stacklevel=3)
    else:
        listener(text)


def tell(text: str) -> None:
    """Tell a sentence to the innermost `listen_to_notes` of this thread, if there is one: what leaves the
    result as it is, and no program has to act on.
    """
    if listener := _listener.get():
        listener(text)


@contextmanager
def listen_to_notes(listener: Callable[[str], None]) -> Iterator[None]:
    """While open, notes of this thread are told to the listener, and are no warnings.

    >>> notes = []
    >>> with listen_to_notes(notes.append):
    ...     load_picture("scan.tif")
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
