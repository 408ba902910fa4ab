"""Compare: models x tasks x pruners x budgets in one run, with intervals that respect pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from wordsight._utils.numbers import counted
from wordsight._utils.options import Count, check_options
from wordsight._utils.progress import track
from wordsight._utils.registry import refuse_duplicates, spec
from wordsight.errors import UsageError, unknown
from wordsight.evaluation.environment import describe_weights, machine
from wordsight.evaluation.latency import Timing
from wordsight.evaluation.metrics import BLIND, RESIZED, UNPRUNED, Baselines, Metrics, mean_metrics
from wordsight.evaluation.prepared_task import (
    PreparedTask,
    answer_length,
    check_examples,
    mean_scores,
    scores_of,
    seeded,
)
from wordsight.evaluation.result_cache import (
    PART_FORMAT,
    MadeWith,
    Measured,
    PartRecord,
    Place,
    ResultCache,
    RunResult,
    Selection,
    result_name,
)
from wordsight.evaluation.results import Answered, ComparisonEnvironment, Results, Row, TaskAnswers
from wordsight.evaluation.statistics import Resampled
from wordsight.models.prompt import Prompt
from wordsight.models.tokens import VisualTokens
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner
from wordsight.redundancy.measured_with import measured_with
from wordsight.tasks.base import Example, Task
from wordsight.tasks.digest import questions_digest

DEFAULT_REFERENCE = "random"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a comparison does beside scoring.

    reference  the SPEC of the pruner that the others are compared with at the same budget, beside the
               unpruned model; random by default, if it is among the pruners.
    timing     measure times and memory too.
    cache      the folder to keep finished results in: a run that was killed goes on from them.
    pictures   ask only about the first so many pictures of each task.
    """

    reference: str | None = None
    timing: Timing | None = None
    cache: Path | None = None
    pictures: Count | None = None

    def __post_init__(self) -> None:
        check_options(self)


def compare(
    models: VLM | Iterable[VLM],
    tasks: Sequence[Task],
    pruners: Sequence[Pruner],
    *,
    limit: int | None = None,
    settings: Settings | None = None,
) -> Results:
    """Accuracy of the unpruned model, on resized pictures too, and of every pruner, on `limit` questions of
    each task, which its pictures take turns to ask (`Task.first`).

    Rows of the mean over tasks follow, if there are several whose score is a mean of their questions', in
    which every task counts alike. Every picture is encoded once and pruned once per method. A pruner that
    draws runs with three seeds, averaged. Intervals are of 95 % over pictures, paired where two methods are
    compared. Models may be a generator: one at a time is held.

    Raises UsageError if two models, tasks or pruners are the same, the reference is none of the pruners, a
    pruner cannot run on a model, a question cannot be asked, or the cache holds a result that is damaged.
    """
    return Comparison(tasks, pruners, limit, settings or Settings()).results(models)


@dataclass(frozen=True)
class Comparison:
    """What `compare` is asked, in plain values that can be pickled: any number of processes can each measure
    a part of it into one cache, on a model that they have loaded.
    """

    tasks: Sequence[Task]
    pruners: Sequence[Pruner]
    limit: int | None = None
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        refuse_duplicates("task", [spec(task) for task in self.tasks])
        refuse_duplicates("pruner", [f"{spec(pruner)} at {Budget.of(pruner)}" for pruner in self.pruners])
        self._reference()

    @property
    def selection(self) -> Selection:
        """Which questions are asked."""
        return {"limit": self.limit, "pictures": self.settings.pictures}

    def results(self, models: VLM | Iterable[VLM]) -> Results:
        """See `compare`."""
        found: list[Results] = []
        self._each_model(models, lambda vlm, runs: found.append(self._results(vlm, runs)))
        return joined(found)

    def _results(self, vlm: VLM, runs: Sequence[TaskRun]) -> Results:
        """Those of one model."""
        measured = []
        for run in runs:
            measured.append(run.measured())
            run.release()
        environment: ComparisonEnvironment = {**machine(), "models": [describe_weights(vlm)]}
        return results_of(measured, self._reference(), environment, self.selection)

    def _reference(self) -> str | None:
        return reference_among([spec(pruner) for pruner in self.pruners], self.settings.reference)

    def measure_part(self, models: VLM | Iterable[VLM], part: tuple[int, int]) -> PartRecord:
        """Measure one part, the first of so many being 0, of all that the results take into the cache, and
        say what is missing there at the end.

        Raises UsageError, beside what `compare` raises, for a part that there is not, and without a cache.
        """
        number, parts = part
        if not 0 <= number < parts:
            raise UsageError(f"there is no part {number} of {parts}: expected one from 0 to {parts - 1}")
        if not self.settings.cache:
            raise UsageError("a part is measured into a cache: give Settings(cache=folder)")
        places: dict[str, Place] = {}

        def of_model(vlm: VLM, runs: Sequence[TaskRun]) -> None:
            cells = Cells(runs)
            for name, (run, measurement) in cells.all.items():
                if len(places) % parts == number:
                    cells(name)
                places[name] = run.key(measurement)[0]

        self._each_model(models, of_model)
        cache = ResultCache(self.settings.cache)
        missing = [place for name, place in places.items() if not cache.has(name)]
        return {"format": PART_FORMAT, "part": number, "parts": parts, "missing": missing}

    def cells(self, vlm: VLM) -> Cells:
        """All that the results on one model take, each to be measured into the cache by itself.

        Raises what `compare` raises.
        """
        return Cells(self._runs(vlm, ResultCache(self.settings.cache)))

    def missing(self, vlm: VLM) -> list[str]:
        """The names of the cells that are not in the cache."""
        cache = ResultCache(self.settings.cache)
        return [name for name in self.cells(vlm).all if not cache.has(name)]

    def _each_model(
        self, models: VLM | Iterable[VLM], work: Callable[[VLM, Sequence[TaskRun]], None]
    ) -> None:
        """Do the work with the runs of each model, one model after the other, none of which is the same."""
        cache, names = ResultCache(self.settings.cache), list[str]()

        def of_model(vlm: VLM) -> None:
            names.append(vlm.name)
            refuse_duplicates("model", names)
            work(vlm, self._runs(vlm, cache))

        for _ in map(of_model, [models] if isinstance(models, VLM) else models):
            pass  # map lets go of a model before it asks for the next

    def _runs(self, vlm: VLM, cache: ResultCache) -> list[TaskRun]:
        """A run of every task, whose questions and pruners are checked."""
        timing, ordered = self.settings.timing, _by_budget(self.pruners)
        for pruner in self.pruners:
            pruner.check(vlm)
        runs = [
            TaskRun(vlm, task, _questions(task, self.selection), ordered, cache, timing)
            for task in self.tasks
        ]
        for run in runs:
            check_examples(vlm, run.task, run.examples, timing.new_tokens if timing else 0)
        return runs


@dataclass(frozen=True)
class Budget:
    """How many visual tokens are to be kept: a share of them or a number, one of the two."""

    keep: float | None = None
    tokens: int | None = None

    @classmethod
    def of(cls, pruner: Pruner) -> Budget:
        """What a pruner was asked for."""
        return cls(keep=pruner.keep) if pruner.tokens is None else cls(tokens=pruner.tokens)

    def __str__(self) -> str:
        return f"keep {self.keep!r}" if self.tokens is None else counted(self.tokens, "token")

    def share_of(self, tokens: VisualTokens) -> float:
        """What share of these tokens is kept, line breaks not counted."""
        if self.keep is not None:
            return self.keep
        assert self.tokens is not None, "one of the two is given"
        return min(1.0, self.tokens / int((~tokens.is_break).sum()))


ALL, NOTHING = Budget(keep=1.0), Budget(tokens=0)


@dataclass(frozen=True)
class Entry:
    """What was measured of one pruner at one budget on one task."""

    pruner: str
    budget: Budget
    result: RunResult
    seeds: int = 1
    has_fixed_budget: bool = True


@dataclass(frozen=True)
class MeasuredTask:
    """What was measured of a model on a task: of the unpruned one, which is the first entry, of pruners and
    smaller pictures, and without visual tokens.
    """

    model: str
    task: str
    examples: list[Example]
    entries: list[Entry]
    blind: RunResult

    def rows(self, reference: str | None) -> Iterator[Row]:
        """A row for each entry, with its difference to the unpruned model and to the pruner of the SPEC
        `reference` at the same budget, where there is one.
        """
        on_resized = {entry.budget: entry.result for entry in self.entries if entry.pruner == RESIZED}
        for entry, others in _compared(self.entries, reference):
            references = {name: self.entries[i].result for name, i in others.items()}
            split = None if entry.pruner in (UNPRUNED, RESIZED) else on_resized.get(entry.budget)
            metrics = self.baselines.metrics(entry.result, references, split)
            yield self.row(entry, metrics, task=self.task)

    def row(self, entry: Entry, metrics: Metrics, *, task: str, tasks: int = 1) -> Row:
        """The row of an entry: what tells it from others, and its metrics."""
        return {
            "model": self.model,
            "task": task,
            "tasks": tasks,
            "pruner": entry.pruner,
            "keep": entry.budget.keep,
            "tokens": entry.budget.tokens,
            "seeds": entry.seeds,
            **metrics,
        }

    def answers(self) -> TaskAnswers:
        """What was said to every question, with its score."""
        blind = Entry(BLIND, NOTHING, self.blind)
        return {
            "model": self.model,
            "task": self.task,
            "questions": [
                {
                    "picture": example.picture_id,
                    "question": example.question,
                    "answers": [*example.answers],
                    "type": example.type,
                }
                for example in self.examples
            ],
            "answered": [_answered(entry) for entry in (*self.entries, blind)],
        }

    @cached_property
    def baselines(self) -> Baselines:
        """What every row is measured against."""
        return Baselines(self.examples, self.entries[0].result, self.blind)


@dataclass(frozen=True)
class Measurement:
    """What is to be measured of one pruner, or none, at one budget on one task."""

    name: str
    budget: Budget
    measure: Callable[[], Measured]
    pruner: Pruner | None = None

    @property
    def seeds(self) -> int:
        """How many times every question is asked."""
        return len(seeded(self.pruner)) if self.pruner else 1


@dataclass(frozen=True)
class TaskRun:
    """The questions of a task, a model, and the pruners to compare, those of one budget together."""

    vlm: VLM
    task: Task
    examples: list[Example]
    pruners: Sequence[Pruner]
    cache: ResultCache
    timing: Timing | None = None

    def measured(self) -> MeasuredTask:
        """All that its rows are computed from."""
        whole, blind = (self.result(each) for each in self.measurements[:2])
        entries = [Entry(UNPRUNED, ALL, whole)]
        left = self.measurements[2:]
        for each in track(left, f"pruning for {spec(self.task)}", len(left)):
            is_fixed = each.pruner is None or each.pruner.has_fixed_budget
            entries.append(Entry(each.name, each.budget, self.result(each), each.seeds, is_fixed))
        return MeasuredTask(self.vlm.name, spec(self.task), self.examples, entries, blind)

    @cached_property
    def measurements(self) -> list[Measurement]:
        """What the rows take: the unpruned model and the blind one, then budget by budget the others."""
        found = [Measurement(UNPRUNED, ALL, self._whole), Measurement(BLIND, NOTHING, self._blind)]
        for pruner in self.pruners:
            budget = Budget.of(pruner)
            if budget not in [each.budget for each in found if each.name == RESIZED]:
                found.append(Measurement(RESIZED, budget, partial(self._resized, budget)))
            found.append(self.of(pruner))
        return found

    def of(self, pruner: Pruner) -> Measurement:
        """That of a pruner."""
        return Measurement(spec(pruner), Budget.of(pruner), partial(self._pruned, pruner), pruner)

    def release(self) -> None:
        """Let go of the encoded pictures; what was measured stays."""
        vars(self).pop("_prepared", None)

    @cached_property
    def _prepared(self) -> PreparedTask:
        """Encoded when the first result is measured: a run whose results are all there reads no picture."""
        signals = frozenset().union(*(pruner.required_signals for pruner in self.pruners))
        return PreparedTask.of(self.vlm, self.task, self.examples, signals=signals)

    def _whole(self) -> Measured:
        return self._measured([self._prepared.whole_answers], _mean_tokens(self._prepared.prompts), None)

    def _blind(self) -> Measured:
        return _measured([self._prepared.blind_answers], 0.0)

    def _resized(self, budget: Budget) -> Measured:
        prepared = self._prepared.on_resized(budget.share_of)
        return _measured([prepared.whole_answers], _mean_tokens(prepared.prompts))

    def _pruned(self, pruner: Pruner) -> Measured:
        return self._measured(*self._prepared.answers(pruner), pruner)

    def _measured(self, answers: list[list[str]], kept: float, pruner: Pruner | None) -> Measured:
        pairs = zip(self.examples, self._prepared.prompts, strict=True)
        pictures = {example.picture_id: prompt.visual for example, prompt in pairs}
        drops_all = sum(pruner.drops_all(tokens) for tokens in pictures.values()) if pruner else 0
        timing = self.timing.measure(self.vlm, self.examples, pruner) if self.timing else None
        return {"answers": answers, "tokens_kept": kept, "drops_all": drops_all, "timing": timing}

    def result(self, measurement: Measurement) -> RunResult:
        """Out of the cache, or measured now."""
        return self._scored(self.cache.get(*self.key(measurement), measurement.measure))

    def key(self, measurement: Measurement) -> tuple[Place, MadeWith]:
        """What tells its result from all others in the cache."""
        pruner, budget = measurement.pruner, measurement.budget
        place: Place = {
            "model": self.vlm.name,
            "task": spec(self.task),
            "pruner": measurement.name,
            "keep": budget.keep,
            "tokens": budget.tokens,
        }
        return place, {
            **measured_with(self.vlm),
            "fingerprint": self.vlm.fingerprint,
            "parts": self.vlm.parts,
            "timing": asdict(self.timing) if self.timing else None,
            "questions": self._questions_digest if self.cache.folder else "",
            "count": len(self.examples),
            "seeds": measurement.seeds,
            "max_new_tokens": answer_length(self.vlm, self.task),
            "codebook": pruner.digest if pruner else None,
            "code": pruner.code_digest if pruner else None,
        }

    def _scored(self, measured: Measured) -> RunResult:
        scores = [scores_of(self.task, self.examples, each) for each in measured["answers"]]
        return RunResult(
            mean_scores(scores).tolist(),
            measured["tokens_kept"],
            measured["drops_all"],
            measured["timing"],
            measured["answers"],
            [each.tolist() for each in scores],
            self._resampled(measured["answers"]),
        )

    def _resampled(self, answers: Sequence[list[str]]) -> Resampled | None:
        """What the answers score together, mean over seeds, where that is no mean of their scores."""
        aggregates = [self.task.aggregate(self.examples, each) for each in answers]
        pictures = [example.picture_id for example in self.examples]
        seeds = [Resampled.of(each, pictures) for each in aggregates if each]
        return Resampled.mean(seeds) if seeds else None

    @cached_property
    def _questions_digest(self) -> str:
        """What tells these questions from others under the same name."""
        return questions_digest(self.examples)


@dataclass(frozen=True)
class Cells:
    """The results of a few runs by their names in the cache, which are the same in all processes whose
    machines are alike.
    """

    runs: Sequence[TaskRun]

    @cached_property
    def all(self) -> dict[str, tuple[TaskRun, Measurement]]:
        """Each by its name, run by run."""
        return {
            result_name(*run.key(measurement)): (run, measurement)
            for run in self.runs
            for measurement in run.measurements
        }

    def __call__(self, name: str) -> int:
        """Have a result in the cache; how many answers it has. The pictures of one run are held.

        Raises UsageError if there is none of this name.
        """
        if name not in self.all:
            raise UsageError(
                "this worker would measure something else than was asked for: its device, threads, packages "
                "or --memory differ from those of the first worker; use machines of one kind"
            )
        run, measurement = self.all[name]
        for other in self.runs:
            if other is not run:
                other.release()
        return sum(map(len, run.result(measurement).answers))


def joined(results: Sequence[Results]) -> Results:
    """The results on several models as those of one comparison."""
    return Results(
        [row for each in results for row in each.rows],
        {
            **(results[0].environment if results else machine()),
            "models": [model for each in results for model in each.environment["models"]],
        },
        results[0].asked if results else None,
        [answers for each in results for answers in each.answers],
    )


def _measured(answers: list[list[str]], kept: float) -> Measured:
    return {"answers": answers, "tokens_kept": kept, "drops_all": 0, "timing": None}


def _answered(entry: Entry) -> Answered:
    return {
        "pruner": entry.pruner,
        "keep": entry.budget.keep,
        "tokens": entry.budget.tokens,
        "texts": entry.result.answers,
        "scores": entry.result.answer_scores,
    }


def results_of(
    tasks: Sequence[MeasuredTask],
    reference: str | None,
    environment: ComparisonEnvironment,
    asked: Selection | None = None,
) -> Results:
    """The results of one model on these tasks, in each of which the same was measured."""
    rows = [row for task in tasks for row in task.rows(reference)]
    averaged = [task for task in tasks if not task.baselines.whole.resampled]
    if len(averaged) > 1:
        rows.extend(mean_rows(averaged, reference))
    return Results(rows, environment, asked, [task.answers() for task in tasks])


def mean_rows(runs: Sequence[MeasuredTask], reference: str | None) -> Iterator[Row]:
    """A row for each entry on one model: the mean over its tasks."""
    baselines = [run.baselines for run in runs]
    for i, (entry, others) in enumerate(_compared(runs[0].entries, reference)):
        references = {name: [run.entries[j].result for run in runs] for name, j in others.items()}
        metrics = mean_metrics(baselines, [run.entries[i].result for run in runs], references)
        yield runs[0].row(entry, metrics, task=f"mean of {len(runs)} tasks", tasks=len(runs))


def reference_among(names: Sequence[str], asked: str | None) -> str | None:
    """The pruner that others are compared with, one of these. Raises UsageError if it is none of them."""
    if asked is None:
        return DEFAULT_REFERENCE if DEFAULT_REFERENCE in names else None
    if asked not in names:
        raise unknown("reference", asked, names)
    return asked


def _by_budget(pruners: Sequence[Pruner]) -> list[Pruner]:
    """Those of one budget together, budgets in the order in which they are first asked for."""
    budgets = [Budget.of(pruner) for pruner in pruners]
    return sorted(pruners, key=lambda pruner: budgets.index(Budget.of(pruner)))


def _questions(task: Task, chosen: Selection) -> list[Example]:
    examples = task.first(**chosen)
    if not examples:
        raise UsageError(f"task {spec(task)} has no questions; expected one at least")
    return examples


def _compared(entries: Sequence[Entry], reference: str | None) -> Iterator[tuple[Entry, dict[str, int]]]:
    """Every entry, and the numbers of the entries that it is compared with, by name; the first is that of the
    unpruned model.
    """
    places = {(entry.pruner, entry.budget): i for i, entry in enumerate(entries)}
    for i, entry in enumerate(entries):
        others = {UNPRUNED: 0} if i else {}
        other = places.get((reference or "", entry.budget))
        if other is not None and entry.has_fixed_budget and entry.pruner != reference:
            others[entries[other].pruner] = other
        yield entry, others


def _mean_tokens(prompts: list[Prompt]) -> float:
    return float(np.mean([len(prompt.visual) for prompt in prompts]))
