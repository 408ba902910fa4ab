"""Compare: models x tasks x pruners x keeps in one run, with intervals that respect pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from wordsight._utils.progress import track
from wordsight._utils.registry import refuse_duplicates, spec
from wordsight.errors import UsageError, unknown
from wordsight.evaluation.environment import describe_weights, machine, versions
from wordsight.evaluation.latency import Timing
from wordsight.evaluation.metrics import Baselines, mean_row
from wordsight.evaluation.prepared_task import PreparedTask, seeded
from wordsight.evaluation.result_cache import ResultCache, RunResult
from wordsight.evaluation.results import Results
from wordsight.media.resize import resized
from wordsight.models.prompt import Prompt
from wordsight.models.tokens import VisualTokens
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner
from wordsight.pruners.book import BookPruner
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
    refuse_duplicates("task", [spec(task) for task in tasks])
    refuse_duplicates("pruner", [f"{spec(pruner)} at keep {pruner.budget_setting!r}" for pruner in pruners])
    reference = _reference(settings.reference, [spec(pruner) for pruner in pruners])
    keeps = [repr(pruner.budget_setting) for pruner in pruners]  # 1 is one token, 1.0 all of them
    ordered = sorted(pruners, key=lambda pruner: keeps.index(repr(pruner.budget_setting)))
    timing = asdict(settings.timing) if settings.timing else None
    cells = ResultCache(settings.cells, {"versions": versions(), "limit": limit, "timing": timing})
    described: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []

    def of_model(vlm: VLM) -> None:
        described.append(describe_weights(vlm))
        refuse_duplicates("model", [model["model"] for model in described])
        for pruner in pruners:
            pruner.check(vlm)
        runs = [
            TaskRun(vlm, task, _questions(task, limit), ordered, cells, settings.timing) for task in tasks
        ]
        for run in runs:
            rows.extend(run.rows(reference))
            run.forget()
        if len(runs) > 1:
            rows.extend(mean_rows(runs, reference))

    for _ in map(of_model, [models] if isinstance(models, VLM) else models):
        pass  # map lets go of a model before it asks for the next
    return Results(rows, machine() | {"models": described})


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


@dataclass(frozen=True)
class Entry:
    """What was measured of one pruner at one keep on one task."""

    pruner: str
    keep: float | int
    cell: RunResult
    seeds: int = 1
    has_fixed_budget: bool = True


@dataclass(frozen=True)
class TaskRun:
    """The questions of a task, a model, and the pruners to compare, those of one keep together."""

    vlm: VLM
    task: Task
    examples: list[Example]
    pruners: Sequence[Pruner]
    cells: ResultCache
    timing: Timing | None = None

    @cached_property
    def stick(self) -> Baselines:
        """What every row is measured against."""
        return Baselines(self.examples, self._whole(), self._blind())

    @cached_property
    def lines(self) -> list[Entry]:
        """The unpruned model, and keep by keep resized pictures and every pruner."""
        found = [Entry("none", 1.0, self.stick.whole)]
        for pruner in track(self.pruners, f"pruning for {spec(self.task)}", len(self.pruners)):
            if repr(pruner.budget_setting) not in {
                repr(line.keep) for line in found if line.pruner == "resized"
            }:
                found.append(Entry("resized", pruner.budget_setting, self._resized(pruner.budget_setting)))
            cell, seeds = self._pruned(pruner), len(seeded(pruner))
            found.append(Entry(spec(pruner), pruner.budget_setting, cell, seeds, pruner.has_fixed_budget))
        return found

    def rows(self, reference: str | None) -> Iterator[dict[str, Any]]:
        """A row for each line, with its difference to the unpruned model and to the pruner of the SPEC
        `reference` at the same keep, where there is one.
        """
        resized = {repr(line.keep): line.cell for line in self.lines if line.pruner == "resized"}
        for line, others in _compared(self.lines, reference):
            references = {name: self.lines[i].cell for name, i in others.items()}
            split = None if line.pruner in ("none", "resized") else resized[repr(line.keep)]
            yield self.about(line) | self.stick.row(line.cell, references, split)

    def forget(self) -> None:
        """Let go of the encoded pictures; what was measured stays."""
        vars(self).pop("_sheet", None)

    def about(self, line: Entry) -> dict[str, Any]:
        """What tells a row from others."""
        return {
            "model": self.vlm.name,
            "task": spec(self.task),
            "tasks": 1,
            "pruner": line.pruner,
            "keep": line.keep,
            "seeds": line.seeds,
        }

    @cached_property
    def _sheet(self) -> PreparedTask:
        """Encoded when the first cell is measured: a run whose cells are all there reads no picture."""
        needs = frozenset().union(*(pruner.required_signals for pruner in self.pruners))
        return PreparedTask.of(self.vlm, self.task, self.examples, signals=needs)

    def _cell(
        self, name: str, keep: float | int, measure: Callable[[], RunResult], book: str | None = None
    ) -> RunResult:
        place = {"model": self.vlm.name, "task": spec(self.task), "pruner": name, "keep": repr(keep)}
        model = {
            "fingerprint": self.vlm.fingerprint,
            "dtype": str(self.vlm.model.dtype),
            "device": self.vlm.model.device.type,
        }
        return self.cells.cell(place, {**model, "questions": self._questions, "codebook": book}, measure)

    @cached_property
    def _questions(self) -> str:
        """What tells these questions from others under the same name."""
        asked = [(example.picture_id, example.question, example.answer) for example in self.examples]
        return hashlib.sha256(repr(asked).encode()).hexdigest()[:16]

    def _whole(self) -> RunResult:
        def measure() -> RunResult:
            return self._measured(self._sheet.whole.tolist(), _mean_tokens(self._sheet.prompts), None)

        return self._cell("none", 1.0, measure)

    def _blind(self) -> RunResult:
        return self._cell("blind", 0, lambda: RunResult(self._sheet.blind.tolist(), 0.0))

    def _resized(self, keep: float | int) -> RunResult:
        def measure() -> RunResult:
            smaller = [
                replace(example, images=resized(example.images, _share(keep, prompt.visual)))
                for example, prompt in zip(self.examples, self._sheet.prompts, strict=True)
            ]
            sheet = PreparedTask.of(self.vlm, self.task, smaller)
            return RunResult(sheet.whole.tolist(), _mean_tokens(sheet.prompts))

        return self._cell("resized", keep, measure)

    def _pruned(self, pruner: Pruner) -> RunResult:
        def measure() -> RunResult:
            scores, kept = self._sheet.run(pruner)
            return self._measured(scores.tolist(), kept, pruner)

        book = pruner.book.digest if isinstance(pruner, BookPruner) else None
        return self._cell(spec(pruner), pruner.budget_setting, measure, book)

    def _measured(self, scores: list[float], kept: float, pruner: Pruner | None) -> RunResult:
        pairs = zip(self.examples, self._sheet.prompts, strict=True)
        seen = {example.picture_id: prompt.visual for example, prompt in pairs}
        rescued = sum(pruner.drops_all(tokens) for tokens in seen.values()) if pruner else 0
        timing = self.timing.measure(self.vlm, self.examples, pruner) if self.timing else None
        return RunResult(scores, kept, rescued, timing)


def mean_rows(runs: Sequence[TaskRun], reference: str | None) -> Iterator[dict[str, Any]]:
    """A row for each line of these runs, on one model: the mean over their tasks."""
    sticks = [run.stick for run in runs]
    for i, (line, others) in enumerate(_compared(runs[0].lines, reference)):
        references = {name: [run.lines[j].cell for run in runs] for name, j in others.items()}
        row = mean_row(sticks, [run.lines[i].cell for run in runs], references)
        told = {"task": f"mean of {len(runs)} tasks", "tasks": len(runs)}
        yield runs[0].about(line) | told | row


def _compared(lines: Sequence[Entry], reference: str | None) -> Iterator[tuple[Entry, dict[str, int]]]:
    """Every line, and the numbers of the lines that it is compared with, by name; the first is the unpruned
    model's.
    """
    at = {(line.pruner, repr(line.keep)): i for i, line in enumerate(lines)}
    for i, line in enumerate(lines):
        others = {"none": 0} if i else {}
        other = at.get((reference or "", repr(line.keep)))
        if other is not None and line.has_fixed_budget and line.pruner != reference:
            others[lines[other].pruner] = other
        yield line, others


def _mean_tokens(prompts: list[Prompt]) -> float:
    return float(np.mean([len(prompt.visual) for prompt in prompts]))


def _share(keep: float | int, tokens: VisualTokens) -> float:
    """What share of the picture's tokens is kept, line breaks not counted."""
    return keep if isinstance(keep, float) else min(1.0, keep / int((~tokens.is_break).sum()))
