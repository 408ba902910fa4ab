"""Recommend: which pruner at a budget, on this model and these questions, as far as they can tell.

Losers are dropped early on the validation split (`race`); the one that leads there is confirmed once on the
test split, against the unpruned model, the baselines that cost nothing, and the runner-up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from wordsight import pruners as package
from wordsight._utils.progress import track
from wordsight._utils.registry import spec
from wordsight.errors import UsageError
from wordsight.evaluation.environment import environment
from wordsight.evaluation.latency import Timing
from wordsight.evaluation.prepared_task import PreparedTask
from wordsight.evaluation.racing import LEVEL, Values, race
from wordsight.evaluation.verdict import FREE, RESIZED, advise
from wordsight.media.resize import resized
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner
from wordsight.pruners.random import Random
from wordsight.tasks.base import Example, Task

ROUND = 40  # questions of a round of the race, at least
CLOCK = Timing(rounds=16, batch=1)


@dataclass(frozen=True)
class Requirements:
    """What is asked of a pruner.

    budget       the share of the visual tokens to keep, in (0, 1)
    tolerance    the share of the unpruned quality that may be lost, in [0, 1)
    latency_ms   the longest that a question may take from picture to answer, median
    limit        ask only the first so many questions of each split
    """

    budget: float = 0.2
    tolerance: float = 0.03
    latency_ms: float | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.budget < 1:
            raise UsageError(f"budget must be a share of the tokens in (0, 1), as 0.2; got {self.budget}")
        if not 0 <= self.tolerance < 1:
            raise UsageError(f"tolerance must be a share of the quality in [0, 1), got {self.tolerance}")
        if self.latency_ms is not None and not 0 < self.latency_ms < math.inf:
            raise UsageError(f"latency_ms must be a number above 0, got {self.latency_ms}")


def recommend(
    vlm: VLM, *, validation: Task, test: Task, terms: Requirements, pruners: Sequence[Pruner] | None = None
) -> dict[str, Any]:
    """The record of a race and its confirmation; `verdict` and `advice` say what it supports.

    `pruners`, by default all of the package that can run on the model, are taken at the budget; random
    tokens are always among them. Raises UsageError if one cannot run, or a split has fewer than two pictures.
    """
    methods, left_out = _methods(vlm, pruners, terms.budget)
    choosing, testing = _questions(validation, terms.limit), _questions(test, terms.limit)
    taken = _milliseconds(vlm, choosing, methods) if terms.latency_ms else {}
    slow = {name for name, ms in taken.items() if ms > (terms.latency_ms or math.inf)}
    record: dict[str, Any] = {
        "task": spec(test),
        "validation": sum(map(len, choosing)),
        "terms": asdict(terms),
        "level": LEVEL,
        "left_out": left_out,
        "milliseconds": taken,
        "too_slow": sorted(slow),
    }
    if running := {name: method for name, method in methods.items() if name not in slow}:
        record["candidates"] = _race(vlm, validation, choosing, running)
        finalists = _finalists(methods, [*record["candidates"]])
        record |= {"leader": next(iter(finalists)), **_confirm(vlm, test, testing, finalists)}
    return record | advise(record) | {"environment": environment(vlm)}


def _methods(
    vlm: VLM, pruners: Sequence[Pruner] | None, budget: float
) -> tuple[dict[str, Pruner], dict[str, str]]:
    """The candidates by their SPECs, random tokens the first, and why others of the package are none."""
    left_out = {}
    if pruners is None:
        pruners = []
        for name in package.names():
            try:
                pruners.append(_checked(package.make(name), vlm))
            except UsageError as error:
                left_out[name] = str(error)
    drawn = [method for method in pruners if isinstance(method, Random)] or [Random()]
    methods = {spec(method): replace(method, keep=budget) for method in [*drawn, *pruners]}
    for method in methods.values():
        _checked(method, vlm)
    return methods, left_out


def _checked(method: Pruner, vlm: VLM) -> Pruner:
    """The pruner; raises UsageError if it cannot run on the model or be held to a budget."""
    method.check(vlm)
    if not method.has_fixed_budget:
        raise UsageError(
            f"{spec(method)} cannot be held to a budget: a threshold keeps as many tokens as it likes, and "
            "the layers before those that drop some read all; `wordsight compare` tells how many are read"
        )
    return method


def _milliseconds(vlm: VLM, pictures: list[list[Example]], methods: dict[str, Pruner]) -> dict[str, float]:
    """What every candidate takes for a question, median."""
    timing = track(methods.items(), "measuring times", len(methods))
    return {name: _timed(vlm, pictures, method)["milliseconds"]["total"] for name, method in timing}


def _timed(vlm: VLM, pictures: list[list[Example]], method: Pruner) -> dict[str, Any]:
    """What a method takes, one question at a time, each about another picture if there are enough."""
    taken = CLOCK.measure(vlm, [questions[0] for questions in pictures], method)
    at_one: dict[str, Any] = taken["batches"][0]
    return at_one


def _questions(task: Task, limit: int | None) -> list[list[Example]]:
    """The questions of a split, picture by picture, in a fixed random order of pictures."""
    together: dict[str, list[Example]] = {}
    for example in task.first(limit):
        together.setdefault(example.picture_id, []).append(example)
    if len(together) < 2:
        raise UsageError(
            f"the {task.split} split of {spec(task)} has too few pictures to choose by"
            f"{f' in its first {limit} questions' if limit else ''}: expected two at least, better a hundred"
        )
    pictures = list(together.values())
    return [pictures[i] for i in np.random.default_rng(0).permutation(len(pictures))]


def _race(vlm: VLM, task: Task, pictures: list[list[Example]], running: dict[str, Pruner]) -> dict[str, Any]:
    """How many questions each candidate was asked, and its accuracy, mean over pictures; the best first."""

    def score(name: str, sheet: PreparedTask) -> Values:
        scores, _ = sheet.run(running[name])
        ids = [example.picture_id for example in sheet.examples]
        starts = [i for i, each in enumerate(ids) if i == 0 or each != ids[i - 1]]
        means: Values = np.add.reduceat(scores, starts) / np.diff([*starts, len(ids)])
        return means

    outcome = race(list(running), _sheets(vlm, task, pictures, running), score)
    return {
        name: {
            "questions": sum(map(len, pictures[: len(outcome.values[name])])),
            "pictures": len(outcome.values[name]),
            "accuracy": float(outcome.values[name].mean()),
            "dropped": name not in outcome.left,
        }
        for name in outcome.order
    }


def _sheets(
    vlm: VLM, task: Task, pictures: list[list[Example]], running: dict[str, Pruner]
) -> Iterator[PreparedTask]:
    """Round by round, all questions about some more pictures; what is over is forgotten."""
    rounds: list[list[Example]] = [[]]
    for questions in pictures:
        if len(rounds[-1]) >= ROUND:
            rounds.append([])
        rounds[-1] += questions
    for examples in track(rounds, f"racing {len(running)} pruners", len(rounds)):
        yield PreparedTask.of(vlm, task, examples, signals=_needs(running))


def _needs(methods: dict[str, Pruner]) -> frozenset[str]:
    return frozenset().union(*(method.required_signals for method in methods.values()))


def _finalists(methods: dict[str, Pruner], order: list[str]) -> dict[str, Pruner]:
    """The leader, and what it has to be compared with: the runner-up and the free baselines."""
    free = [name for name in methods if name == next(iter(methods)) or name.partition(":")[0] in FREE]
    return {name: methods[name] for name in [*order[:2], *free]}


def _confirm(
    vlm: VLM, task: Task, pictures: list[list[Example]], finalists: dict[str, Pruner]
) -> dict[str, Any]:
    """What the first of the finalists does on questions that did not choose it, and what it takes."""
    examples = [example for questions in pictures for example in questions]
    sheet = PreparedTask.of(vlm, task, examples, signals=_needs(finalists))
    confirming = track(finalists.items(), "confirming", len(finalists))
    runs = {name: sheet.run(method) for name, method in confirming}
    leader, budget = next(iter(finalists)), next(iter(finalists.values())).keep
    smaller = PreparedTask.of(
        vlm, task, [replace(each, images=resized(each.images, budget)) for each in examples]
    )
    scores = {"none": sheet.whole} | {name: scores for name, (scores, _) in runs.items()}
    scores[RESIZED] = smaller.whole
    return {
        "test": {
            "questions": len(examples),
            "pictures": len(pictures),
            "blind": float(sheet.blind.mean()),
            "accuracy": {name: float(each.mean()) for name, each in scores.items()},
            "tokens": {"none": _tokens(sheet), RESIZED: _tokens(smaller)}
            | {name: kept for name, (_, kept) in runs.items()},
            "difference_to": {
                name: [float((scores[leader] - each).mean()), *sheet.interval(scores[leader] - each)]
                for name, each in scores.items()
                if name != leader
            },
        },
        "time": _time(_timed(vlm, pictures, finalists[leader])),
    }


def _tokens(sheet: PreparedTask) -> float:
    """How many visual tokens a prompt has, the mean."""
    return float(np.mean([len(prompt.visual) for prompt in sheet.prompts]))


def _time(taken: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of a question without and with pruning, medians, and how many times as fast it is."""
    ratio, low, high = taken["ratio"]["total"]
    return {
        "rounds": CLOCK.rounds,
        "unpruned_ms": taken["unpruned_milliseconds"],
        "pruned_ms": taken["milliseconds"],
        "speed_up": [1 / ratio, 1 / high, 1 / low],
    }
