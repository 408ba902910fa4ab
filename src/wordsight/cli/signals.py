"""Signals: being asked to end is an exception, so that what is being written is cleared away first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """Raised in the main thread when another program, or the end of the terminal, asks this one to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number  # what a shell makes of a process that the signal killed


@contextmanager
def signals_raised() -> Iterator[None]:
    """While open, the signals raise Stopped, but those that were ignored before, as by nohup."""
    raised = [number for number in SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
    for number in raised:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in raised:
            signal.signal(number, signal.SIG_DFL)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)
