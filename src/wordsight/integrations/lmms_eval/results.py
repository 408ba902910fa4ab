"""What lmms-eval measured of pruned models, as the results of a comparison: of its logs of samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import TypedDict

from wordsight._utils.notes import note
from wordsight._utils.records import checked, parse_json, read_json
from wordsight.errors import FileError, Note
from wordsight.evaluation.comparison import Budget, Entry, MeasuredTask, joined, reference_among, results_of
from wordsight.evaluation.metrics import BLIND, UNPRUNED
from wordsight.evaluation.result_cache import RunResult
from wordsight.evaluation.results import ComparisonEnvironment, Results
from wordsight.integrations.lmms_eval.record import FORMAT, NAME, LmmsRun, LmmsSample
from wordsight.tasks.base import Example

RESULTS, SAMPLES = "_results.json", "_samples_"  # how lmms-eval calls its files, after the date


class _LmmsResults(TypedDict):
    """What is read of a file of results."""

    config: dict[str, Any]
    configs: dict[str, dict[str, Any]]
    results: dict[str, dict[str, Any]]


class _LoggedSample(TypedDict):
    """What is read of a line in a log, beside its scores."""

    doc_id: int
    input: str
    target: str
    filtered_resps: str
    token_counts: list[dict[str, Any] | None]


@dataclass(frozen=True)
class _Logged:
    """A task in one run: how it was answered, its questions, what was said and how that scored."""

    path: Path
    task: str
    run: LmmsRun
    examples: list[Example]
    texts: list[str]
    scores: list[float]

    @property
    def place(self) -> tuple[str, Budget]:
        """What tells it from other runs on the task."""
        return self.run["pruner"], Budget(self.run["keep"], self.run["tokens"])

    @property
    def result(self) -> RunResult:
        kept = self.run["tokens_kept"]
        return RunResult(self.scores, kept, answers=[self.texts], answer_scores=[self.scores])


def lmms_results(folder: str | Path, reference: str | None = None) -> Results:
    """The results of all runs of `lmms_eval --model wordsight --log_samples` in a folder and those below it.

    A task is scored by its first metric that is the mean of what its questions score, from 0 to 1. Raises
    FileError if there is none, if a log is missing or another task's, if runs differ in more than their
    pruner, or a task has no run of pruner=none or pruner=blind; UsageError if the reference is no pruner.
    """
    runs = [run for path in sorted(Path(folder).rglob(f"*{RESULTS}")) for run in _runs(path)]
    if not runs:
        raise FileError(
            f"{folder} has no results of lmms-eval with pruned models: expected the --output_path of "
            f"lmms_eval --model {NAME} --log_samples"
        )
    by_model = _grouped(runs, [run.run["weights"]["model"] for run in runs])
    return joined([_of_model(own, reference) for own in by_model.values()])


def _of_model(runs: Sequence[_Logged], reference: str | None) -> Results:
    for run in runs:
        _check_alike(runs[0], run)
    by_task = _grouped(runs, [run.task for run in runs])
    tasks = [_measured(own) for own in by_task.values()]
    places = [[(entry.pruner, entry.budget) for entry in task.entries] for task in tasks]
    for task, own in zip(tasks, places, strict=True):
        if missing := set(places[0]) ^ set(own):
            pruner, budget = min(missing, key=str)
            raise FileError(
                f"of {tasks[0].task} and {task.task} only one was run with {pruner} at {budget}: run the "
                "other too, or give a folder of one task"
            )
    names = [pruner for pruner, _ in places[0] if pruner != UNPRUNED]
    environment: ComparisonEnvironment = {**runs[0].run["machine"], "models": [runs[0].run["weights"]]}
    return results_of(tasks, reference_among(names, reference), environment)


def _measured(runs: Sequence[_Logged]) -> MeasuredTask:
    """What the runs on one task of one model measured."""
    places: dict[tuple[str, Budget], _Logged] = {}
    for run in runs:
        if other := places.get(run.place):
            raise FileError(f"{other.path} and {run.path} are of one pruner; move one of them away")
        if run.examples != runs[0].examples:
            raise FileError(
                f"{runs[0].path} and {run.path} have not the same questions; run one of them again"
            )
        places[run.place] = run
    by_name = {run.run["pruner"]: run for run in runs}
    for name in (UNPRUNED, BLIND):
        if name not in by_name:
            raise FileError(
                f"there is no run of {runs[0].task} with pruner={name}, against which pruners are measured: "
                "run lmms-eval with it, too"
            )
    budgets = [budget for _, budget in places]
    pruned = [run for run in runs if run.run["pruner"] not in (UNPRUNED, BLIND)]
    ordered = sorted(pruned, key=lambda run: budgets.index(run.place[1]))
    entries = [
        Entry(*run.place, run.result, has_fixed_budget=run.run["has_fixed_budget"])
        for run in (by_name[UNPRUNED], *ordered)
    ]
    whole = by_name[UNPRUNED]
    name = whole.run["weights"]["model"]
    return MeasuredTask(name, whole.task, whole.examples, entries, by_name[BLIND].result)


def _check_alike(one: _Logged, other: _Logged) -> None:
    """Raises FileError if two runs of a model differ in more than their pruner, and the day."""
    made_with = [({**run.run["machine"], "date": ""}, run.run["weights"]) for run in (one, other)]
    if made_with[0] != made_with[1]:
        raise FileError(
            f"{one.path} and {other.path} were not run with the same weights, dtype, device, threads and "
            "versions; run one of them again as the other"
        )


def _runs(path: Path) -> Iterator[_Logged]:
    """The tasks of a run, none if it was not one of ours, which is noted."""
    found = checked(_LmmsResults, read_json(path, "results of lmms-eval"), path)
    if found["config"].get("model") != NAME:
        note(f"{path} is left out: it is not of --model {NAME}", Note)
        return
    for task in found["configs"]:
        log = path.with_name(f"{path.name.removesuffix(RESULTS)}{SAMPLES}{task}.jsonl")
        yield _logged(log, task, found["results"].get(task, {}))


def _logged(path: Path, task: str, metrics: Mapping[str, Any]) -> _Logged:
    lines = sorted(_lines(path), key=lambda line: int(line["doc_id"]))
    samples = [checked(_LoggedSample, line, path) for line in lines]
    if len({sample["doc_id"] for sample in samples}) < len(samples) or not samples:
        raise FileError(
            f"{path} has not one answer to each question: leave out --repeats, and several filters"
        )
    records = [_record(sample, path) for sample in samples]
    run = next((record["run"] for record in records if "run" in record), None)
    if run is None or run["format"] != FORMAT:
        raise FileError(f"{path} is damaged or of another version: no question says how it was answered")
    examples = [
        Example((), record["picture"], sample["input"], sample["target"], task)
        for sample, record in zip(samples, records, strict=True)
    ]
    scores = _scores(lines, metrics, path)
    return _Logged(path, task, run, examples, [sample["filtered_resps"] for sample in samples], scores)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        for line in path.read_text("utf-8").splitlines():
            yield parse_json(line)
    except FileNotFoundError as error:
        raise FileError(f"{path} is missing: run lmms-eval with --log_samples") from error
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read {path}: expected a log of lmms-eval ({error})") from error


def _record(sample: _LoggedSample, path: Path) -> LmmsSample:
    """Our record of a question."""
    counts = sample["token_counts"][0] or {}
    if NAME not in counts:
        raise FileError(f"{path}: question {sample['doc_id']} does not say what was read of its picture")
    return checked(LmmsSample, counts[NAME], path)


def _scores(lines: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any], path: Path) -> list[float]:
    """What the questions score by the first metric that is the mean of these."""
    names = dict.fromkeys(name.partition(",")[0] for name in metrics if name.partition(",")[0] in lines[0])
    for name, value in metrics.items():
        scores = [_score(line.get(name.partition(",")[0])) for line in lines]
        known = [score for score in scores if score is not None]
        is_mean = isinstance(value, float) and len(known) == len(lines)
        if is_mean and isclose(float(np.mean(known)), value, abs_tol=1e-6):
            return known
    raise FileError(
        f"{path}: no metric ({', '.join(names) or 'there is none'}) is the mean of what single questions "
        "score from 0 to 1, which intervals are of; leave this task out"
    )


def _score(value: Any) -> float | None:
    """What one question scores, as a number or in a record; None if it is nothing from 0 to 1."""
    number = value.get("score") if isinstance(value, Mapping) else value
    return float(number) if isinstance(number, int | float) and 0 <= number <= 1 else None


def _grouped(runs: Sequence[_Logged], names: Sequence[str]) -> dict[str, list[_Logged]]:
    groups: dict[str, list[_Logged]] = {}
    for run, name in zip(runs, names, strict=True):
        groups.setdefault(name, []).append(run)
    return groups
