"""Time limits: how long a client may take to send a request; slow ones would hold the places of others."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from starlette.types import Message, Receive
from uvicorn.protocols.http.h11_impl import H11Protocol

from wordsight.errors import WordsightError

HEADERS = 20  # seconds for the headers of a request
GRACE = 10  # seconds until the body of a request has to come at RATE
RATE = 2**16  # bytes a second, on average


class TooSlow(WordsightError):
    """The body of a request comes too slowly."""


class TimedProtocol(H11Protocol):
    """HTTP; the connection is closed where the headers of a request, or a body that nobody reads, take longer
    than HEADERS.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._start_timer()
        elif self._timer:
            self._timer.cancel()
            self._timer = None

    def _start_timer(self) -> None:
        self._timer = self._timer or self.loop.call_later(HEADERS, self.transport.close)


def timed(receive: Receive) -> Receive:
    """What `receive` gives of a body. Raises TooSlow if it comes slower than RATE after GRACE."""
    start, total = monotonic(), 0

    async def receive_in_time() -> Message:
        nonlocal total
        left = start + GRACE + total / RATE - monotonic()
        try:
            message = await asyncio.wait_for(receive(), left)
        except asyncio.TimeoutError as error:  # before Python 3.11 it is no TimeoutError
            raise TooSlow(
                f"only {total} bytes of the files came in {monotonic() - start:.0f} s; send fewer or "
                "smaller ones, or over a faster connection"
            ) from error
        total += len(message.get("body", b""))
        return message

    return receive_in_time
