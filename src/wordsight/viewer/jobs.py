"""Jobs: one thread that does jobs one after another, a bounded queue before it, and their results."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile
from queue import SimpleQueue
from traceback import extract_tb
from typing import Any, Literal

from wordsight._utils.progress import Progress, report_progress
from wordsight.errors import WordsightError
from wordsight.models.failures import known_reason

WAITING = 4  # jobs behind the one that is being done
KEPT = 16  # jobs that are kept
PATIENCE = 5  # seconds for the job that is being done to notice the end

State = Literal["waiting", "working", "done", "failed", "canceled"]
log = logging.getLogger(__name__)


class Busy(WordsightError):
    """The queue is full."""


class Forgotten(WordsightError):
    """There is no such job, or no longer."""


class Stopped(WordsightError):
    """The server was stopped, or the job canceled, while it was being done."""


def internal_error(error: Exception) -> str:
    """What a client learns of an error that should not have happened: not where, nor with what data. That is
    logged in a line; the traceback is of level DEBUG.
    """
    where = extract_tb(error.__traceback__)[-1]
    name = type(error).__name__
    log.error("internal error: %s: %s, at %s:%s", name, error, where.filename, where.lineno)
    log.debug("its traceback", exc_info=error)
    return f"internal error ({name}); see the terminal that the server runs in"


@dataclass(eq=False)
class Job:
    """A request, its progress and its result.

    says   what is being done, or why it failed.
    share  how much of all of its work is done, in [0, 1]; None while nothing is being done.
    found  what the work has reported of its result so far; it and the request are let go at the end: pictures
           are large, and the job is kept for long.
    """

    request: Any
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    state: State = "waiting"
    says: str = "waiting"
    share: float | None = None
    found: list[Any] = field(default_factory=list)
    result: Any = None
    is_canceled: bool = False

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "failed", "canceled")

    def end(self, state: State, text: str) -> None:
        """Set the final state, and that last: others wait for it."""
        self.request, self.found = None, []
        self.says, self.share = text, None
        self.state = state


class JobQueue:
    """Does jobs in a thread of its own, while a `with` block lasts.

    >>> with JobQueue(lambda request: request + 1) as jobs:
    ...     job = jobs.submit(1)                         # in a while, job.result is 2
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self._jobs: dict[str, Job] = {}  # the oldest first
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = threading.RLock()
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name="wordsight view", daemon=True)

    def __enter__(self) -> JobQueue:
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._is_ending = True
        self._queue.put(None)
        self._thread.join(PATIENCE)

    def submit(self, request: Any) -> Job:
        """A job at the end of the queue. Raises Busy if that is full."""
        job = Job(request)
        with self._lock:
            self.check()
            self._jobs[job.id] = job
            over = [old.id for old in self._jobs.values() if old.is_over]
            for old in over[: max(0, len(self._jobs) - KEPT)]:
                del self._jobs[old]
            self._queue.put(job)
        return job

    def check(self) -> None:
        """Raises Busy if a job would find the queue full."""
        if (unfinished := self.ahead()) > WAITING:
            raise Busy(
                f"busy: a question is being answered and {unfinished - 1} are waiting; "
                "try again in a few seconds"
            )

    def job(self, id: str) -> Job:
        """The job of this id. Raises Forgotten."""
        with self._lock:
            if id not in self._jobs:
                raise Forgotten(
                    f"no such question: only the last {KEPT} are kept, until the server stops; ask it again"
                )
            return self._jobs[id]

    def cancel(self, id: str) -> Job:
        """The job of this id, which is not done any more, or ends at the next report of its progress; if it
        is over, it stays as it is. Raises Forgotten.
        """
        with self._lock:
            job = self.job(id)
            job.is_canceled = True
            if job.state == "waiting":
                job.end("canceled", "canceled")
        return job

    def ahead(self, job: Job | None = None) -> int:
        """How many unfinished jobs there are before this one; by default, before one that comes now."""
        with self._lock:
            return sum(not one.is_over for one in takewhile(lambda one: one is not job, self._jobs.values()))

    def _run(self) -> None:
        while (job := self._queue.get()) and not self._is_ending:
            self._finish(job)

    def _finish(self, job: Job) -> None:
        """Do the job, unless it was canceled; if it fails, the next one is done all the same."""
        with self._lock:
            if job.is_over:
                return
            job.state = "working"

        def update(progress: Progress) -> None:
            if self._is_ending or job.is_canceled:
                raise Stopped("the server was stopped" if self._is_ending else "canceled")
            job.says = progress.description or job.says
            job.share = max(progress.overall, job.share or 0.0)

        try:
            with report_progress(update, job.found.append):
                job.result = self._function(job.request)
            job.end("done", "done")
        except Stopped as stop:
            job.end("canceled" if job.is_canceled else "failed", str(stop))
        except WordsightError as error:
            job.end("failed", str(error))
        except Exception as error:
            job.end("failed", known_reason(error) or internal_error(error))
