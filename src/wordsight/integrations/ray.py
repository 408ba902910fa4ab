"""Ray: a pool of actors, each with the model, collects evidence, compares pruners and calibrates codebooks,
on one machine or on a cluster.

Jobs are handed out one at a time; what comes of them lies in a folder that all machines share. Ray brings
actors back that died.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib import import_module
from importlib.util import find_spec
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from wordsight._utils.notes import listen_to_notes, tell
from wordsight._utils.numbers import counted
from wordsight._utils.progress import track
from wordsight._utils.registry import refuse_duplicates
from wordsight.errors import FileError, UsageError, WordsightError, located
from wordsight.models.load_options import LoadOptions

if TYPE_CHECKING:
    from wordsight.evaluation.calibration import Calibration, CalibrationPlan
    from wordsight.evaluation.comparison import Comparison
    from wordsight.evaluation.results import Results
    from wordsight.media.picture_files import PictureFile
    from wordsight.models.vlm import VLM
    from wordsight.redundancy.collecting import EvidencePlan
    from wordsight.redundancy.evidence import Evidence

RETRIES = 2  # of a job whose worker died
# Nothing is reported to anybody unasked, and what is told of dying workers is ours.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # else they are told on stdout
}
EXPECTED = "expected HOST:PORT of a cluster's head, auto for the one that this machine is in, or local"
REPORTS = 10  # of how far the work is, at most
PROCESS_BYTES = 2**30  # of an actor beside its model; half of it was measured
Work = Callable[[Any], Any]  # what does a job


@dataclass(frozen=True, kw_only=True)
class RayWorkers:
    """What does the jobs.

    model, options   as VLM.from_pretrained takes them; a folder has to be one that all machines share, as
                     has any that is named from the folder where this is called.
    address          local starts Ray on this machine, auto is the cluster that it is in, else HOST:PORT.
    actors           how many models there are; as many as there is room for by default.
    gpus             of an actor, 0.5 where two share one; by default 1, if the cluster has any.
    """

    model: str = "demo"
    options: LoadOptions | None = None
    address: str = "local"
    actors: int | None = None
    gpus: float | None = None


def collect_evidence_on_ray(
    workers: RayWorkers, pictures: Sequence[PictureFile], folder: str | Path, plan: EvidencePlan
) -> Evidence:
    """The same evidence, byte for byte, as `collect_evidence` writes on as many threads as an actor has: on a
    CPU one, unless OMP_NUM_THREADS says otherwise.

    What is finished is kept, whoever dies; the same call goes on. Raises UsageError if there is no such
    cluster or no room in it for the actors, and WordsightError if one job ends its worker again and again.
    """
    with _actors(workers) as actors:
        return _collected(actors, pictures, folder, plan)


def compare_on_ray(workers: RayWorkers, comparison: Comparison, models: Sequence[str]) -> Results:
    """The same rows and answers as `comparison.results` gives of these models, each result being a job; they
    take the place of the workers' model, one after the other. See `collect_evidence_on_ray`.

    Raises UsageError, beside what `compare` raises, if the comparison has no cache.
    """
    from wordsight.evaluation.comparison import joined

    cache = comparison.settings.cache
    if not cache:
        raise UsageError("actors measure into a cache: give Settings(cache=folder)")
    refuse_duplicates("model", models)
    root = cache.absolute()
    shared = replace(comparison, settings=replace(comparison.settings, cache=root))
    found = []
    for model in models:
        with _actors(replace(workers, model=model)) as actors:
            missing = actors.first(shared.missing, root)
            actors.each(shared.cells, missing, unit="answers")
            found.append(actors.first(shared.results))
    return joined(found)


def calibrate_on_ray(
    workers: RayWorkers, pictures: Sequence[PictureFile], folder: str | Path, plan: CalibrationPlan
) -> Calibration:
    """The same book and record as `calibrate` gives of the evidence of these pictures, which is collected in
    the folder first; then each book is a job. See `collect_evidence_on_ray`.

    Raises UsageError, beside what `calibrate` raises, if the plan has no cache.
    """
    from wordsight.evaluation.calibration import Trials
    from wordsight.evaluation.environment import environment

    if not plan.cache:
        raise UsageError("actors measure into a cache: give CalibrationPlan(cache=folder)")
    root = plan.cache.absolute()
    shared = replace(plan, cache=root)
    with _actors(workers) as actors:
        actors.first(shared.check, root)
        evidence = _collected(actors, pictures, folder, plan.evidence_plan)
        made_in = actors.first(environment)
        return shared.decide(evidence, made_in, partial(actors.each, partial(Trials, shared, evidence)))


def _collected(
    actors: _Actors, pictures: Sequence[PictureFile], folder: str | Path, plan: EvidencePlan
) -> Evidence:
    from wordsight.redundancy.collecting import evidence_jobs
    from wordsight.redundancy.evidence import Evidence
    from wordsight.redundancy.examining import examine

    root = Path(folder).absolute()
    jobs = actors.first(partial(evidence_jobs, pictures=pictures, folder=root, plan=plan), root)
    actors.each(partial(partial, examine), jobs, unit="tokens")
    return Evidence.load(root, plan.needs)


class Actor:
    """A model, in the folder where the command is run, and what is done with it.

    It is loaded for the first job, so that what ends a worker that loads it counts as what a job does.
    """

    def __init__(self, workers: RayWorkers, folder: str) -> None:
        with suppress(OSError):  # a machine that has none of this name
            os.chdir(folder)
        sys.path.insert(0, folder)
        self.workers, self.stage = workers, ""
        self.work: Work | None = None

    @cached_property
    def vlm(self) -> VLM:
        from wordsight.models.vlm import VLM

        with located(f"on {socket.gethostname()}"):
            return VLM.from_pretrained(self.workers.model, self.workers.options)

    def call(self, function: Callable[[VLM], Any], folder: Path | None) -> Any:
        """What a function of the model gives, what was told meanwhile, and the bytes of the model."""
        notes = list[str]()

        def called() -> tuple[Any, list[str], int]:
            with listen_to_notes(notes.append):
                result = function(self.vlm)
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
            return result, notes, sum(weight.nbytes for weight in self.vlm.model.parameters())

        return _outcome(called)

    def do(self, stage: str, begin: Callable[[VLM], Work], number: int, job: Any) -> tuple[int, Any]:
        """The number of a job, and what comes of it. What does the jobs of a stage is begun once."""

        def done() -> Any:
            if self.work is None or self.stage != stage:
                self.work = None  # lets go of what another stage holds
                self.stage, self.work = stage, begin(self.vlm)
            return self.work(job)

        return number, _outcome(done)


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


class _Actors:
    """The actors of a run: one at first, and as many as there is room for once there are jobs."""

    def __init__(self, ray: Any, workers: RayWorkers) -> None:
        self._ray, self._workers, self._there = ray, workers, ray.cluster_resources()
        gpus = float("GPU" in self._there) if workers.gpus is None else workers.gpus
        self._needs = {"CPU": 1.0, "GPU": gpus}
        self._room()
        self._actors = [self._started()]

    def first(self, function: Callable[[VLM], Any], folder: Path | None = None) -> Any:
        """What a function of the model gives, called where the first actor is, after which the folder is
        there. Raises FileError if that is another folder than here.
        """
        outcome = self._ray.get(self._actors[0].call.remote(function, folder))
        result, notes, model_bytes = _unwrapped(outcome)
        for text in notes:
            tell(text)
        if folder and not folder.is_dir():
            raise FileError(
                f"{folder} is another folder where the workers are; choose one that all machines share"
            )
        self._needs["memory"] = model_bytes + PROCESS_BYTES
        self._room()
        return result

    def each(self, begin: Callable[[VLM], Work], jobs: Sequence[Any], unit: str = "") -> list[Any]:
        """What comes of the jobs, in their order; they are done by what every actor begins with its model.
        Where that are numbers of a unit, the speed is told in it.
        """
        if not jobs:
            return []
        count = min(self._room(), len(jobs))
        self._actors += [self._started() for _ in range(count - len(self._actors))]
        pool = import_module("ray.util").ActorPool(self._actors)
        stage, begun = uuid4().hex, self._ray.put(begin)
        outcomes = pool.map_unordered(
            lambda actor, job: actor.do.remote(stage, begun, *job), [*enumerate(jobs)]
        )
        done = dict(_watched(outcomes, len(jobs), count, unit))
        return [done[number] for number in range(len(jobs))]

    def _started(self) -> Any:
        """Another actor, which is brought back whenever it dies."""
        options = {
            "num_cpus": self._needs["CPU"],
            "num_gpus": self._needs["GPU"],
            "memory": self._needs.get("memory"),
            "max_restarts": -1,
            "max_task_retries": RETRIES,
        }
        return self._ray.remote(**options)(Actor).remote(self._workers, os.getcwd())

    def _room(self) -> int:
        return _room(self._workers, self._needs, self._there)


def _watched(
    outcomes: Iterable[tuple[int, Any]], jobs: int, actors: int, unit: str
) -> Iterator[tuple[int, Any]]:
    """What came of the jobs, with their numbers; it is told now and then how far they are."""
    amount, step, start = 0, -(-jobs // REPORTS), time.monotonic()
    for done, (number, outcome) in enumerate(track(outcomes, "doing jobs", jobs), 1):
        yield number, _unwrapped(outcome)
        if done == 1:  # before it, models were loaded
            start = time.monotonic()
            continue
        amount += outcome if unit else 1
        if done % step == 0 or done == jobs:
            speed = f"{amount / (time.monotonic() - start):.3g} {unit or 'jobs'} a second"
            tell(f"{done} of {jobs} jobs done, {speed} on {counted(actors, 'actor')}")


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
def _actors(workers: RayWorkers) -> Iterator[_Actors]:
    """Actors on the workers' cluster, gone when the block ends."""
    with _connected(workers.address) as ray, _told_of_deaths(ray):
        yield _Actors(ray, workers)


@contextmanager
def _told_of_deaths(ray: Any) -> Iterator[None]:
    """That a worker died too often is one sentence."""
    try:
        yield
    except ray.exceptions.RayTaskError:  # which says itself what is wrong with our code
        raise
    except ray.exceptions.RayError as error:
        raise WordsightError(
            f"a worker died {RETRIES + 1} times at the same job, as where memory runs out; what is "
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
