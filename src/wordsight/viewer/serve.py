"""Serve one model until somebody stops it."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from wordsight.explain.record import ExplainRequest
from wordsight.models.vlm import VLM
from wordsight.viewer.handler import RequestHandler
from wordsight.viewer.jobs import JobQueue
from wordsight.viewer.limits import TimedProtocol
from wordsight.viewer.listener import Listener
from wordsight.viewer.server import app
from wordsight.viewer.uploads import MIB

CONCURRENCY = 64  # requests at a time


def serve(
    vlm: VLM,
    make_request: Callable[..., ExplainRequest],
    listener: Listener,
    *,
    max_upload: int,
    notify: Callable[[str], None],
) -> None:
    """Serve pages of what `make_request` makes of names and questions, about files of at most `max_upload`
    MiB together, until Ctrl-C. `notify` gets a sentence when it starts.
    """
    jobs = JobQueue(RequestHandler(vlm, make_request))
    site = app(jobs, listener, model=vlm.name, max_upload=max_upload * MIB)
    if not listener.is_private:
        notify(f"warning: anyone who can reach this machine on {listener.host} can ask, without a password")
    notify(f"serving on {listener.url}, Ctrl-C stops")
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # by nohup
        # The server has a handler of SIGTERM, which ends it in order.
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    with suppress(KeyboardInterrupt):
        server(site).run(sockets=[listener.socket])


def server(site: FastAPI) -> uvicorn.Server:
    """A quiet HTTP server of the application."""
    return uvicorn.Server(
        uvicorn.Config(
            site,
            log_config=None,
            log_level=logging.CRITICAL,  # what clients do wrong is told them; what we do, by our own logger
            http=TimedProtocol,
            ws="none",
            access_log=False,
            server_header=False,
            limit_concurrency=CONCURRENCY,
            timeout_graceful_shutdown=2,
        )
    )
