"""Serve: one model, behind a door, until somebody stops it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from wordsight.explain.record import ExplainRequest
from wordsight.models.vlm import VLM
from wordsight.viewer.handler import Handler
from wordsight.viewer.jobs import JobQueue
from wordsight.viewer.listener import Listener
from wordsight.viewer.server import app
from wordsight.viewer.uploads import MIB

VISITORS = 64  # requests at a time


def serve(
    vlm: VLM,
    asking: Callable[..., ExplainRequest],
    door: Listener,
    *,
    max_upload: int,
    say: Callable[[str], None],
) -> None:
    """Serve the page of what `asking` makes of names and questions, of files of at most `max_upload` MiB
    together; returns after Ctrl-C.
    """
    site = app(JobQueue(Handler(vlm, asking)), door, model=vlm.name, max_upload=max_upload * MIB)
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
