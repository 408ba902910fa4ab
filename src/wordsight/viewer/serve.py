"""Serve: one model, behind a door, until somebody stops it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from wordsight.explain.record import Asked
from wordsight.models.vlm import VLM
from wordsight.viewer.handler import Teller
from wordsight.viewer.jobs import Say, Work
from wordsight.viewer.listener import Door
from wordsight.viewer.server import app
from wordsight.viewer.uploads import MIB

VISITORS = 64  # requests at a time


def serve(vlm: VLM, asking: Callable[..., Asked], door: Door, *, max_upload: int, say: Say) -> None:
    """Serve the page of what `asking` makes of names and questions, of files of at most `max_upload` MiB
    together; returns after Ctrl-C.
    """
    site = app(Work(Teller(vlm, asking)), door, model=vlm.name, max_upload=max_upload * MIB)
    if not door.is_private:
        say(f"warning: whoever reaches this machine on {door.host} can ask, without a password")
    say(f"serving on {door.url}, Ctrl-C stops")
    with suppress(KeyboardInterrupt):
        server(site).run(sockets=[door.socket])


def server(site: FastAPI) -> uvicorn.Server:
    """What speaks HTTP for the application, quietly."""
    return uvicorn.Server(
        uvicorn.Config(
            site,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=VISITORS,
            timeout_graceful_shutdown=2,
        )
    )
