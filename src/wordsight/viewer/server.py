"""The server: a start page, a queue of questions, and their results; no path of the disk can be asked for.

POST /explain (files `media`, text `question`) puts a question into the queue; GET /jobs/ID is its progress,
with the words that are known, and DELETE cancels it; /jobs/ID/places is where these words belong, and
/jobs/ID/page and /jobs/ID/record are what `explain` makes of it in the end. POST /links?url=URL gives the
file there, where only this machine can ask. GET /health says how busy the server is.
All else that it serves has a name in this file. An error is {"error": a sentence}.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from typing_extensions import TypedDict

from wordsight.errors import UsageError, WordsightError
from wordsight.explain.page import WEB as PAGE
from wordsight.media.formats import file_chooser
from wordsight.models.showcase import showcase
from wordsight.redundancy.probe import QUESTION
from wordsight.reports.page import render
from wordsight.reports.palette import css
from wordsight.viewer import early
from wordsight.viewer.handler import ExplainResult
from wordsight.viewer.jobs import WAITING, Busy, Forgotten, Job, JobQueue, State, internal_error
from wordsight.viewer.limits import TooSlow
from wordsight.viewer.links import fetch_link
from wordsight.viewer.listener import Listener
from wordsight.viewer.security import HEADERS, Security
from wordsight.viewer.uploads import CHARACTERS, MAX_FILES, TooLarge, open_uploads, receive_form

FORMAT = 1  # of the JSON below
WEB = Path(__file__).with_name("web")
STATUS: dict[type[Exception], int] = {Busy: 503, Forgotten: 404, TooLarge: 413, TooSlow: 408}  # else 422
RETRY = {"retry-after": "5"}
# The page of a result runs its own scripts, in an origin of its own: it cannot ask even this server.
PAGE_POLICY = {
    "content-security-policy": "sandbox allow-scripts allow-downloads; default-src 'none'; img-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
}
FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "view.js": ((WEB / "view.js").read_bytes, "text/javascript"),
    "view.css": ((WEB / "view.css").read_bytes, "text/css"),
    "words.js": ((WEB / "words.js").read_bytes, "text/javascript"),
    "dom.js": ((PAGE / "dom.js").read_bytes, "text/javascript"),
    "regions.js": ((PAGE / "regions.js").read_bytes, "text/javascript"),
    "style.css": ((PAGE / "style.css").read_bytes, "text/css"),
    "palette.css": (lambda: css().encode(), "text/css"),
}
routes = APIRouter()


class JobRecord(TypedDict):
    """A question and its progress."""

    format: int
    id: str
    state: State
    says: Annotated[str, "what is being done, or why it failed"]
    share: Annotated[float | None, "how much of all the work is done, in [0, 1]; null if none is being done"]
    ahead: Annotated[int, "how many unfinished questions come before this one"]
    words: Annotated[
        dict[int, str | None],
        "by the number of a token the word that it says alone, null: nothing; those that are known while the "
        "question is being answered",
    ]
    answer: Annotated[str | None, "with all tokens; null until the question is done"]


class HealthRecord(TypedDict):
    """How busy the server is, and with what."""

    format: int
    status: str
    model: str
    wordsight: Annotated[str, "its version"]
    working: Annotated[bool, "whether a question is being answered"]
    waiting: Annotated[int, "how many wait behind it"]
    room: Annotated[int, "how many more can be asked now"]
    max_upload: Annotated[int, "bytes of all files of a question"]
    max_files: Annotated[int, "of a question"]
    takes_links: Annotated[bool, "whether it fetches links: only if no other machine can reach it"]


class ExamplesRecord(TypedDict):
    """Pictures that come with the model, under /files, and what may be asked about them."""

    format: int
    questions: Annotated[dict[str, str], "by the name of the picture"]


def app(jobs: JobQueue, listener: Listener, *, model: str, max_upload: int) -> FastAPI:
    """The application; it starts the queue and ends it."""

    @asynccontextmanager
    async def while_running(app: FastAPI) -> AsyncIterator[None]:
        with jobs:
            yield

    application = FastAPI(
        title="wordsight view", openapi_url=None, docs_url=None, redoc_url=None, lifespan=while_running
    )
    application.state.jobs, application.state.model, application.state.max_upload = jobs, model, max_upload
    application.state.url, application.state.takes_links = listener.url, listener.is_private
    application.state.receiving = asyncio.Semaphore(1 + WAITING)  # questions that are being sent
    application.state.opening = asyncio.Lock()  # pictures are large: those of one question at a time
    application.include_router(routes)
    application.add_middleware(Security, listener=listener)
    application.add_exception_handler(WordsightError, _refuse)
    application.add_exception_handler(AnyHTTPException, _refuse)
    application.add_exception_handler(ClientDisconnect, _refuse)
    application.add_exception_handler(Exception, _fail)
    return application


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    """The error of a request in a sentence."""
    if isinstance(error, AnyHTTPException):
        text = str(error.detail)
        if text == HTTPStatus(error.status_code).phrase:
            text = f"{text.lower()}: {request.method} {request.url.path[:80]}; open {request.app.state.url}"
        return JSONResponse({"error": text}, error.status_code, dict(error.headers or {}))
    status = STATUS.get(type(error), 422)
    return JSONResponse({"error": str(error)}, status, RETRY if status == 503 else None)


async def _fail(request: Request, error: Exception) -> JSONResponse:
    """The error of the server itself; what it was is logged."""
    return JSONResponse({"error": internal_error(error)}, 500, HEADERS)


@routes.get("/")
async def start() -> Response:
    page = render(
        "start.html", folder=WEB, accept=file_chooser(), characters=CHARACTERS, probe_question=QUESTION
    )
    return Response(page, media_type="text/html")


@routes.get("/files/{name}")
async def file(request: Request, name: str) -> Response:
    shown = showcase(request.app.state.model)
    if name in shown.questions:
        return Response((shown.folder / name).read_bytes(), media_type="image/png")
    if name not in FILES:
        raise HTTPException(404, f"no such file: {name!r}")
    content, kind = FILES[name]
    return Response(content(), media_type=kind)


@routes.get("/examples")
async def examples(request: Request) -> ExamplesRecord:
    shown = showcase(request.app.state.model)
    return {
        "format": FORMAT,
        "questions": {name: next(iter(asked)) for name, asked in shown.questions.items()},
    }


@routes.get("/health")
async def health(request: Request) -> HealthRecord:
    state = request.app.state
    unfinished = state.jobs.ahead()
    return {
        "format": FORMAT,
        "status": "ok",
        "model": state.model,
        "wordsight": version("wordsight"),
        "working": unfinished > 0,
        "waiting": max(0, unfinished - 1),
        "room": 1 + WAITING - unfinished,
        "max_upload": state.max_upload,
        "max_files": MAX_FILES,
        "takes_links": state.takes_links,
    }


@routes.post("/explain", status_code=202)
async def explain(request: Request, response: Response) -> JobRecord:
    state = request.app.state
    state.jobs.check()  # before all is sent that there is no room for
    if state.receiving.locked():
        raise Busy("busy: as many questions as there is room for are being sent; try again in a few seconds")
    async with state.receiving:
        files, question = await receive_form(request, state.max_upload)
        async with state.opening:
            state.jobs.check()
            job = state.jobs.submit(await run_in_threadpool(open_uploads, files, question))
    response.headers["location"] = f"/jobs/{job.id}"
    return _as_json(state.jobs, job)


@routes.post("/links")
async def link(request: Request, url: str = "") -> Response:
    """Other machines could reach into this one's network by it."""
    state = request.app.state
    if not state.takes_links:
        raise UsageError("others can reach this server, so it fetches no links; save the file, and choose it")
    async with state.receiving:
        data = await run_in_threadpool(fetch_link, url, state.max_upload)
    return Response(data, media_type="application/octet-stream")


@routes.get("/jobs/{id}")
async def job(request: Request, id: str) -> JobRecord:
    jobs = request.app.state.jobs
    return _as_json(jobs, jobs.job(id))


@routes.delete("/jobs/{id}")
async def cancel(request: Request, id: str) -> JobRecord:
    jobs = request.app.state.jobs
    return _as_json(jobs, jobs.cancel(id))


def _as_json(jobs: JobQueue, job: Job) -> JobRecord:
    state = job.state  # once: it may change meanwhile
    return {
        "format": FORMAT,
        "id": job.id,
        "state": state,
        "says": job.says,
        "share": job.share,
        "ahead": jobs.ahead(job),
        "words": early.words(job.found),
        "answer": job.result.answer if state == "done" else None,
    }


@routes.get("/jobs/{id}/places")
async def places(request: Request, id: str) -> early.PlacesRecord:
    job = request.app.state.jobs.job(id)
    asked, found = job.request, job.found  # once: they are let go at the end
    if not (asked and found):
        raise _not_now(job)
    return await run_in_threadpool(early.places, asked, found[0])


@routes.get("/jobs/{id}/page")
async def page(request: Request, id: str) -> Response:
    return Response(_result(request, id).page, media_type="text/html", headers=PAGE_POLICY)


@routes.get("/jobs/{id}/record")
async def record(request: Request, id: str) -> Response:
    return Response(_result(request, id).record, media_type="application/json")


def _result(request: Request, id: str) -> ExplainResult:
    job = request.app.state.jobs.job(id)
    if job.state != "done":
        raise _not_now(job)
    result: ExplainResult = job.result
    return result


def _not_now(job: Job) -> HTTPException:
    return HTTPException(409, f"this question is {job.state}: {job.says}")
