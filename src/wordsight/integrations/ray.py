"""Ray: evidence is collected by a pool of actors, each with the model, on one machine or on a cluster.

Ray Data hands the jobs out, one at a time, and brings actors back that died. The folder of evidence has to be
one that all machines share.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordsight._utils.notes import listen_to_notes, tell
from wordsight._utils.numbers import counted
from wordsight._utils.progress import track
from wordsight.errors import FileError, UsageError, WordsightError
from wordsight.models.load_options import LoadOptions

if TYPE_CHECKING:
    from wordsight.media.picture_files import PictureFile
    from wordsight.redundancy.collecting import EvidencePlan
    from wordsight.redundancy.evidence import Evidence
    from wordsight.redundancy.examining import EvidenceJob

RETRIES = 2  # of a job whose worker died
# Nothing is reported to anybody unasked, and what is told of dying workers is ours.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
EXPECTED = "expected HOST:PORT of a cluster's head, auto for the one that this machine is in, or local"
REPORTS = 10  # of how far the work is, at most
PROCESS_BYTES = 2**30  # of an actor beside its model; half of it was measured


@dataclass(frozen=True, kw_only=True)
class RayWorkers:
    """What does the jobs.

    model, options   as VLM.from_pretrained takes them; a folder has to be one that all machines share.
    address          local starts Ray on this machine, auto is the cluster that it is in, else HOST:PORT.
    actors           how many models there are; as many as there is room for by default.
    gpus             of an actor, 0.5 where two share one; by default 1, if the cluster has any.
    """

    model: str = "demo"
    options: LoadOptions | None = None
    address: str = "local"
    actors: int | None = None
    gpus: float | None = None


@dataclass(frozen=True)
class _Prepared:
    """What is to be done, the bytes of the model that does it, and what was told about it."""

    jobs: list[EvidenceJob]
    model_bytes: int
    notes: list[str]


def collect_evidence_on_ray(
    workers: RayWorkers, pictures: Sequence[PictureFile], folder: str | Path, plan: EvidencePlan
) -> Evidence:
    """The same evidence, byte for byte, as `collect_evidence` writes on as many threads as an actor has: on a
    CPU one, unless OMP_NUM_THREADS says otherwise.

    What is finished is kept, whoever dies; the same call goes on. Raises UsageError if there is no such
    cluster or no room in it for the actors, and WordsightError if one job ends its worker again and again.
    """
    from wordsight.redundancy.evidence import Evidence

    root = Path(folder).absolute()
    with _connected(workers.address) as ray, _told_of_deaths(ray):
        there = ray.cluster_resources()
        gpus = float("GPU" in there) if workers.gpus is None else workers.gpus
        needs = {"CPU": 1.0, "GPU": gpus}
        _room(workers, needs, there)
        prepare = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(_prepare)
        prepared: _Prepared = _unwrapped(ray.get(prepare.remote(workers, pictures, root, plan)))
        for text in prepared.notes:
            tell(text)
        if not (root / "manifest.json").is_file():
            raise FileError(
                f"{root} is another folder where the workers are; choose one that all machines share"
            )
        if prepared.jobs:
            needs["memory"] = prepared.model_bytes + PROCESS_BYTES
            actors = _room(workers, needs, there)
            _watch(_examined(workers, prepared.jobs, needs, actors), prepared.jobs, actors)
    return Evidence.load(root, plan.needs)


class Examiner:
    """An actor: a model, and the jobs that come to it."""

    def __init__(self, workers: RayWorkers) -> None:
        from wordsight.models.vlm import VLM

        self.vlm = VLM.from_pretrained(workers.model, workers.options)

    def __call__(self, row: dict[str, Any]) -> dict[str, bytes]:
        """The number of tokens that were examined, or what went wrong."""
        from wordsight.redundancy.examining import examine

        return {"outcome": pickle.dumps(_outcome(lambda: examine(self.vlm, pickle.loads(row["job"]))))}


def _prepare(workers: RayWorkers, pictures: Sequence[PictureFile], root: Path, plan: EvidencePlan) -> Any:
    """What is missing, found out where the model can be loaded as the actors load it."""
    from wordsight.models.vlm import VLM
    from wordsight.redundancy.collecting import evidence_jobs

    def prepared() -> _Prepared:
        notes = list[str]()
        with listen_to_notes(notes.append):
            vlm = VLM.from_pretrained(workers.model, workers.options)
            jobs = evidence_jobs(vlm, pictures, root, plan)
        return _Prepared(jobs, sum(weight.nbytes for weight in vlm.model.parameters()), notes)

    return _outcome(prepared)


def _outcome(work: Callable[[], Any]) -> Any:
    """What the work gives, or the error that is the user's to fix, which Ray would bury in its own."""
    try:
        return work()
    except WordsightError as error:
        return error


def _unwrapped(outcome: Any) -> Any:
    if isinstance(outcome, WordsightError):
        raise outcome
    return outcome


def _examined(
    workers: RayWorkers, jobs: Sequence[EvidenceJob], needs: Mapping[str, float], actors: int
) -> Iterator[int]:
    """The numbers of tokens that the actors examine, as the jobs are done."""
    data = import_module("ray.data")
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    data.DataContext.get_current().enable_progress_bars = False
    data.DataContext.get_current().print_on_execution_start = False
    rows = data.from_items([{"job": pickle.dumps(job)} for job in jobs], override_num_blocks=len(jobs))
    with warnings.catch_warnings():
        # Ray wants named parameters, and has none for the retries of a job.
        warnings.simplefilter("ignore", DeprecationWarning)
        outcomes = rows.map(
            Examiner,
            fn_constructor_args=[workers],
            compute=data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=1),
            num_cpus=needs["CPU"],
            num_gpus=needs["GPU"],
            memory=needs["memory"],
            max_task_retries=RETRIES,
        )
    for row in outcomes.iter_rows():
        yield _unwrapped(pickle.loads(row["outcome"]))


def _watch(outcomes: Iterator[int], jobs: Sequence[EvidenceJob], actors: int) -> None:
    """Go through the outcomes, and tell now and then how far they are."""
    tokens, step, start = 0, -(-len(jobs) // REPORTS), time.monotonic()
    for done, examined in enumerate(track(outcomes, "examining pictures", len(jobs)), 1):
        if done == 1:  # before it, models were loaded
            start = time.monotonic()
            continue
        tokens += examined
        if done % step == 0 or done == len(jobs):
            speed = tokens / (time.monotonic() - start)
            tell(
                f"{done} of {len(jobs)} jobs done, {speed:.0f} tokens a second on {counted(actors, 'actor')}"
            )


def _room(workers: RayWorkers, needs: Mapping[str, float], there: Mapping[str, float]) -> int:
    """How many actors there are. Raises UsageError if that is more than there is room for."""
    fits = {name: floor(there.get(name, 0) / need) for name, need in needs.items() if need}
    scarce = min(fits, key=lambda name: fits[name])
    if not fits[scarce] or (workers.actors or 0) > fits[scarce]:
        raise UsageError(
            f"no room for {counted(workers.actors or 1, 'actor')} of {_amount(scarce, needs[scarce])} each: "
            f"the cluster has {_amount(scarce, there.get(scarce, 0))}, enough for {fits[scarce]}; lower "
            "--actors, or start more machines"
        )
    return workers.actors or fits[scarce]


def _amount(resource: str, amount: float) -> str:
    return f"{amount / 2**30:.1f} GiB of memory" if resource == "memory" else f"{amount:g} {resource}"


@contextmanager
def _told_of_deaths(ray: Any) -> Iterator[None]:
    """That a worker died too often is one sentence."""
    try:
        yield
    except ray.exceptions.RayTaskError:  # which says itself what is wrong with our code
        raise
    except ray.exceptions.RayError as error:
        raise WordsightError(
            f"a worker died {RETRIES + 1} times at the same pictures, as where memory runs out; what is "
            "finished is kept: give each more room, with fewer --actors or more --num-gpus-per-actor, and "
            "run the same command again"
        ) from error


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, with a cluster. Raises UsageError if it is not installed, or no cluster is there."""
    if find_spec("ray") is None:
        raise UsageError("--ray needs Ray: pip install 'wordsight[ray]'")
    if address not in ("auto", "local"):
        _check_answers(address)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    ray = import_module("ray")
    own = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"no Ray cluster at {address}: {error}; {EXPECTED}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Raises UsageError if nothing answers there, for which Ray would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise UsageError(f"no Ray cluster answers at {address}: {error}; {EXPECTED}") from error
