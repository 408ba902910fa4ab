"""Ahead: a process that draws the next batch while the model learns from this one."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


@dataclass
class Ahead(Generic[T]):
    """Draws by the number of the step, which has to rise by one from call to call, up to `steps`."""

    draw: Callable[[int], T]
    steps: int
    _drawn: Connection | None = field(init=False, default=None)

    def __call__(self, step: int) -> T:
        """What is drawn at this step. Raises EOFError if drawing failed, which has said why."""
        if self._drawn is None:
            self._drawn = self._begin(step)
        found: T = pickle.loads(self._drawn.recv_bytes())
        return found

    def _begin(self, first: int) -> Connection:
        context = get_context("fork")  # what is drawn from is shared
        drawn, sender = context.Pipe(duplex=False)
        context.Process(target=self._send, args=(drawn, sender, first), daemon=True).start()
        sender.close()
        return drawn

    def _send(self, drawn: Connection, sender: Connection, first: int) -> None:
        drawn.close()  # so that nobody holds it once the process that learns has ended
        torch.set_num_threads(1)  # the threads of the process that was forked are not there
        with suppress(BrokenPipeError):
            for step in range(first, self.steps):
                # As bytes: torch would pass tensors in shared memory, of which containers have little.
                sender.send_bytes(pickle.dumps(self.draw(step)))
