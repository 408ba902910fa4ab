"""The server of the page: a start page, a queue of questions, and what became of each; no path is its own.

POST /explain (files `media`, text `question`) puts a question into the queue; GET /jobs/ID says how far it
is, /jobs/ID/page and /jobs/ID/story are what `explain` makes of it; GET /health says how busy the server is.
All else that it serves has a name in this file. What goes wrong is {"error": a sentence}.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from wordsight.demo import PICTURES, QUESTIONS
from wordsight.errors import WordsightError
from wordsight.explain.page import WEB as PAGE
from wordsight.viewer.jobs import WAITING, Busy, Forgotten, Job, JobQueue, internal_error
from wordsight.viewer.listener import Listener
from wordsight.viewer.security import HEADERS, Security
from wordsight.viewer.uploads import TooLarge, open_uploads, receive_form

WEB = Path(__file__).with_name("web")
STATUS: dict[type[Exception], int] = {Busy: 503, Forgotten: 404, TooLarge: 413}  # else 422
RETRY = {"retry-after": "5"}
# The page of a story runs its own scripts, in a place of its own: it cannot ask even this server.
STORY = {
    "content-security-policy": "sandbox allow-scripts; default-src 'none'; img-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
}
FILES = {
    "view.js": (WEB / "view.js", "text/javascript"),
    "view.css": (WEB / "view.css", "text/css"),
    "dom.js": (PAGE / "dom.js", "text/javascript"),
    "style.css": (PAGE / "style.css", "text/css"),
    **{name: (PICTURES / name, "image/png") for name in QUESTIONS},
}
routes = APIRouter()


def app(work: JobQueue, door: Listener, *, model: str, max_upload: int) -> FastAPI:
    """The application; it starts the work and ends it."""

    @asynccontextmanager
    async def at_work(app: FastAPI) -> AsyncIterator[None]:
        with work:
            yield

    made = FastAPI(title="wordsight view", openapi_url=None, docs_url=None, redoc_url=None, lifespan=at_work)
    made.state.work, made.state.model, made.state.max_upload = work, model, max_upload
    made.state.home = door.url
    made.state.coming = asyncio.Semaphore(1 + WAITING)  # questions that are being sent
    made.state.opening = asyncio.Lock()  # pictures are large: those of one question at a time
    made.include_router(routes)
    made.add_middleware(Security, door=door)
    made.add_exception_handler(WordsightError, _told)
    made.add_exception_handler(AnyHTTPException, _told)
    made.add_exception_handler(ClientDisconnect, _told)
    made.add_exception_handler(Exception, _failed)
    return made


async def _told(request: Request, error: Exception) -> JSONResponse:
    """What went wrong, in a sentence."""
    if isinstance(error, AnyHTTPException):
        text = str(error.detail)
        if text == HTTPStatus(error.status_code).phrase:
            text = f"{text.lower()}: {request.method} {request.url.path[:80]}; open {request.app.state.home}"
        return JSONResponse({"error": text}, error.status_code, dict(error.headers or {}))
    status = STATUS.get(type(error), 422)
    return JSONResponse({"error": str(error)}, status, RETRY if status == 503 else None)


async def _failed(request: Request, error: Exception) -> JSONResponse:
    """That something went wrong that should not; the terminal tells what."""
    return JSONResponse({"error": internal_error(error)}, 500, HEADERS)


@routes.get("/")
async def start() -> Response:
    return Response((WEB / "start.html").read_bytes(), media_type="text/html")


@routes.get("/files/{name}")
async def file(name: str) -> Response:
    if name not in FILES:
        raise HTTPException(404, f"no such file: {name!r}")
    path, kind = FILES[name]
    return Response(path.read_bytes(), media_type=kind)


@routes.get("/examples")
async def examples() -> dict[str, str]:
    """Pictures that come with the package, and what may be asked about them."""
    return {name: questions[0] for name, questions in QUESTIONS.items()}


@routes.get("/health")
async def health(request: Request) -> dict[str, Any]:
    state = request.app.state
    unfinished = state.work.ahead()
    return {
        "status": "ok",
        "model": state.model,
        "wordsight": version("wordsight"),
        "working": unfinished > 0,
        "waiting": max(0, unfinished - 1),
        "room": 1 + WAITING - unfinished,
        "max_upload": state.max_upload,
    }


@routes.post("/explain", status_code=202)
async def explain(request: Request, response: Response) -> dict[str, Any]:
    state = request.app.state
    state.work.check()  # before all is sent that there is no room for
    if state.coming.locked():
        raise Busy("busy: as many questions as there is room for are being sent; ask again in a while")
    async with state.coming:
        files, text = await receive_form(request, state.max_upload)
        async with state.opening:
            state.work.check()
            job = state.work.submit(await run_in_threadpool(open_uploads, files, text))
    response.headers["location"] = f"/jobs/{job.id}"
    return _as_json(state.work, job)


@routes.get("/jobs/{id}")
async def job(request: Request, id: str) -> dict[str, Any]:
    work = request.app.state.work
    return _as_json(work, work.job(id))


def _as_json(work: JobQueue, job: Job) -> dict[str, Any]:
    state = job.state  # once: it may change meanwhile
    answer = job.result.answer if state == "done" else None
    told = {"id": job.id, "state": state, "says": job.says, "share": job.share}
    return {**told, "ahead": work.ahead(job), "answer": answer}


@routes.get("/jobs/{id}/page")
async def page(request: Request, id: str) -> Response:
    return Response(_result(request, id).page, media_type="text/html", headers=STORY)


@routes.get("/jobs/{id}/story")
async def story(request: Request, id: str) -> Response:
    return Response(_result(request, id).record, media_type="application/json")


def _result(request: Request, id: str) -> Any:
    job = request.app.state.work.job(id)
    if job.state != "done":
        raise HTTPException(409, f"this question is {job.state}: {job.says}")
    return job.result
