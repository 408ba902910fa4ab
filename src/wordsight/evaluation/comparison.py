"""Compare: models x tasks x pruners x keeps in one run, with intervals that respect pictures."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from wordsight._utils.registry import spec
from wordsight.errors import UsageError, unknown
from wordsight.evaluation.latency import Timing
from wordsight.evaluation.result_cache import Cells
from wordsight.evaluation.results import Results
from wordsight.evaluation.run import Run, mean_rows
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner
from wordsight.tasks.base import Example, Task

DEFAULT_REFERENCE = "random"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a comparison does beside scoring.

    reference  the SPEC of the pruner that the others are compared with at the same keep, beside the unpruned
               model; random by default, if it is among the pruners.
    timing     measure times and memory too.
    cells      the folder to keep finished cells in: a run that was killed goes on from them.
    """

    reference: str | None = None
    timing: Timing | None = None
    cells: Path | None = None


def compare(
    models: VLM | Iterable[VLM],
    tasks: Sequence[Task],
    pruners: Sequence[Pruner],
    *,
    limit: int | None = None,
    settings: Settings | None = None,
) -> Results:
    """Accuracy of the unpruned model, on resized pictures too, and of every pruner, on the first `limit`
    questions of each task.

    Rows of the mean over tasks follow, if there are several, in which every task counts alike. Every picture
    is encoded once and pruned once per method. A pruner that draws runs with three seeds,
    averaged. Intervals are 95 % bootstraps over pictures, paired where two methods are compared. Models may
    be a generator: one at a time is held.

    Raises UsageError if two models, tasks or pruners are the same, the reference is none of the pruners, a
    pruner cannot run on a model, or the cells are of another run.
    """
    settings = settings or Settings()
    refuse_repeated("task", [spec(task) for task in tasks])
    refuse_repeated("pruner", [f"{spec(pruner)} at keep {pruner.keep!r}" for pruner in pruners])
    reference = _reference(settings.reference, [spec(pruner) for pruner in pruners])
    keeps = [repr(pruner.keep) for pruner in pruners]  # 1 is one token, 1.0 all of them
    ordered = sorted(pruners, key=lambda pruner: keeps.index(repr(pruner.keep)))
    timing = asdict(settings.timing) if settings.timing else None
    cells = Cells(settings.cells, {"versions": versions(), "limit": limit, "timing": timing})
    described: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []

    def of_model(vlm: VLM) -> None:
        described.append(_described(vlm))
        refuse_repeated("model", [model["model"] for model in described])
        for pruner in pruners:
            pruner.check(vlm)
        runs = [Run(vlm, task, _questions(task, limit), ordered, cells, settings.timing) for task in tasks]
        for run in runs:
            rows.extend(run.rows(reference))
            run.forget()
        if len(runs) > 1:
            rows.extend(mean_rows(runs, reference))

    for _ in map(of_model, [models] if isinstance(models, VLM) else models):
        pass  # map lets go of a model before it asks for the next
    return Results(rows, machine() | {"models": described})


def environment(vlm: VLM) -> dict[str, Any]:
    """What a reader needs to know to run it again on one model."""
    return machine() | _described(vlm)


def versions() -> dict[str, str]:
    """Of what decides the answers."""
    return {name: version(name) for name in ("wordsight", "torch", "transformers")}


def machine() -> dict[str, Any]:
    """When and on what something was measured, and with which versions."""
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": versions(),
    }


def _described(vlm: VLM) -> dict[str, Any]:
    device = vlm.model.device
    return {
        "model": vlm.name,
        "fingerprint": vlm.fingerprint,
        "dtype": str(vlm.model.dtype),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def _questions(task: Task, limit: int | None) -> list[Example]:
    examples = task.first(limit)
    if not examples:
        raise UsageError(f"task {spec(task)} has no questions; expected one at least")
    return examples


def _reference(asked: str | None, pruners: Sequence[str]) -> str | None:
    if asked is None:
        return DEFAULT_REFERENCE if DEFAULT_REFERENCE in pruners else None
    if asked not in pruners:
        raise unknown("reference", asked, pruners)
    return asked


def refuse_repeated(kind: str, names: Sequence[str]) -> None:
    """Raises UsageError if a name is there twice: its rows could not be told apart."""
    for i, name in enumerate(names):
        if name in names[:i]:
            raise UsageError(f"{kind} {name} is there twice: leave one out, or give it other options")
