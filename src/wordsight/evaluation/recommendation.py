"""Recommend: which pruner at a budget, on this model and these questions, as far as they show.

Losers are dropped early on the validation split (`race`); the one that leads there is confirmed once on the
test split, against the unpruned model, the baselines that cost nothing, and the runner-up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Interval as Between

from wordsight import pruners as package
from wordsight._utils.options import Count, check_options
from wordsight._utils.progress import track
from wordsight._utils.registry import spec
from wordsight.errors import UsageError
from wordsight.evaluation.environment import Environment, environment
from wordsight.evaluation.latency import BatchLatency, Timing
from wordsight.evaluation.metrics import RESIZED, UNPRUNED
from wordsight.evaluation.prepared_task import PreparedTask, check_examples, paired_interval
from wordsight.evaluation.racing import LEVEL, Values, race
from wordsight.evaluation.statistics import FEWEST_PICTURES, pictures_needed
from wordsight.evaluation.verdict import (
    FREE,
    Candidate,
    Confirmation,
    Findings,
    Time,
    Verdict,
    advise,
)
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner
from wordsight.pruners.choice import CHOICES, PrunerChoice, exact_spec
from wordsight.pruners.random import Random
from wordsight.tasks.base import Example, Task

FORMAT = 1
ROUND = 40  # questions of a round of the race, at least
CLOCK = Timing(rounds=16, batch=1)


@dataclass(frozen=True)
class Requirements:
    """What is asked of a pruner.

    budget       the share of the visual tokens to keep, in (0, 1)
    tolerance    the share of the unpruned quality that may be lost, in [0, 1)
    latency_ms   the longest that a question may take from picture to answer, median
    limit        ask only so many questions of each split, which its pictures take turns to ask
    pictures     ask only about the first so many pictures of each split
    """

    budget: Annotated[float, "a share of the tokens", Between(gt=0, lt=1)] = 0.2
    tolerance: Annotated[float, "a share of the quality", Between(ge=0, lt=1)] = 0.03
    latency_ms: Annotated[float, "a number of milliseconds", Between(gt=0, lt=math.inf)] | None = None
    limit: Count | None = None
    pictures: Count | None = None

    def __post_init__(self) -> None:
        check_options(self)


class Recommendation(Findings, Verdict):
    """A race on the validation split, its confirmation on the test split, and what they support."""

    format: int
    environment: Environment


def recommend(
    vlm: VLM,
    *,
    validation: Task,
    test: Task,
    requirements: Requirements,
    pruners: Sequence[Pruner] | None = None,
) -> Recommendation:
    """The record of a race and its confirmation; `verdict` and `advice` say what it supports.

    `pruners`, by default all of the package that can run on the model, are taken at the budget; random
    tokens are always among them. Raises UsageError if one cannot run, or a split has fewer than two pictures.
    """
    methods, left_out = _methods(vlm, pruners, requirements.budget)
    choosing, testing = (_questions(task, requirements) for task in (validation, test))
    for task, pictures in ((validation, choosing), (test, testing)):
        check_examples(vlm, task, [example for questions in pictures for example in questions])
    longest = requirements.latency_ms
    milliseconds = _milliseconds(vlm, choosing, methods) if longest else {}
    slow = {name for name, taken in milliseconds.items() if longest and taken > longest}
    findings: Findings = {
        "task": spec(test),
        "validation": sum(map(len, choosing)),
        "terms": {
            "budget": requirements.budget,
            "tolerance": requirements.tolerance,
            "latency_ms": longest,
            "limit": requirements.limit,
            "pictures": requirements.pictures,
        },
        "level": LEVEL,
        "left_out": left_out,
        "milliseconds": milliseconds,
        "too_slow": sorted(slow),
    }
    if running := {name: method for name, method in methods.items() if name not in slow}:
        findings["candidates"] = _race(vlm, validation, choosing, running)
        finalists = _finalists(methods, [*findings["candidates"]])
        leader = findings["leader"] = next(iter(finalists))
        findings["test"] = _confirm(vlm, test, testing, finalists, requirements.tolerance)
        findings["time"] = _time(_timed(vlm, testing, finalists[leader]))
    return {"format": FORMAT, **findings, **advise(findings), "environment": environment(vlm)}


def choice(record: Recommendation) -> PrunerChoice:
    """What `Pruner.load` reads: the leader, whatever its verdict, with what it did on the test split.

    Paths in its SPEC are of the current folder. Raises UsageError if there is nothing to choose.
    """
    if record["verdict"] == "nothing to choose":
        raise UsageError(f"there is no choice to write: {record['advice'][0]}")
    leader, test, weights = record["leader"], record["test"], record["environment"]
    whole = test["accuracy"][UNPRUNED]
    return {
        "format": CHOICES.format,
        "pruner": exact_spec(replace(package.make(leader), keep=record["terms"]["budget"])),
        "model": weights["model"],
        "fingerprint": weights["fingerprint"],
        "parts": weights.get("parts"),
        "task": record["task"],
        "questions": test["questions"],
        "pictures": test["pictures"],
        "verdict": record["verdict"],
        "quality_kept": [1 + lost / whole for lost in test["difference_to"][UNPRUNED]],
        "tokens_kept": test["tokens"][leader] / test["tokens"][UNPRUNED],
    }


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
    methods = {spec(method): replace(method, keep=budget, tokens=None) for method in [*drawn, *pruners]}
    for method in methods.values():
        _checked(method, vlm)
    return methods, left_out


def _checked(method: Pruner, vlm: VLM) -> Pruner:
    """The pruner; raises UsageError if it cannot run on the model or be held to a budget."""
    method.check(vlm)
    if not method.has_fixed_budget:
        raise UsageError(
            f"{spec(method)} cannot be held to a budget: its count adapts to the picture, or the "
            "layers before those that drop some read all; `wordsight compare` reports how many are read"
        )
    return method


def _milliseconds(vlm: VLM, pictures: list[list[Example]], methods: dict[str, Pruner]) -> dict[str, float]:
    """What every candidate takes for a question, median."""
    timing = track(methods.items(), "measuring times", len(methods))
    return {name: _timed(vlm, pictures, method)["milliseconds"]["total"] for name, method in timing}


def _timed(vlm: VLM, pictures: list[list[Example]], method: Pruner) -> BatchLatency:
    """What a method takes, one question at a time, each about another picture if there are enough."""
    return CLOCK.measure(vlm, [questions[0] for questions in pictures], method)["batches"][0]


def _questions(task: Task, asked: Requirements) -> list[list[Example]]:
    """The questions of a split, picture by picture, in a fixed random order of pictures."""
    by_picture: dict[str, list[Example]] = {}
    for example in task.first(asked.limit, asked.pictures):
        by_picture.setdefault(example.picture_id, []).append(example)
    if len(by_picture) < 2:
        which = " of which one is asked about" if 1 in (asked.limit, asked.pictures) else ""
        raise UsageError(
            f"the {task.split} split of {spec(task)} has too few pictures to choose by{which}: expected at "
            "least two, better a hundred"
        )
    pictures = list(by_picture.values())
    return [pictures[i] for i in np.random.default_rng(0).permutation(len(pictures))]


def _race(
    vlm: VLM, task: Task, pictures: list[list[Example]], running: dict[str, Pruner]
) -> dict[str, Candidate]:
    """How many questions each candidate was asked, and its accuracy, mean over pictures; the best first."""

    def score(name: str, prepared: PreparedTask) -> Values:
        scores, _ = prepared.run(running[name])
        ids = [example.picture_id for example in prepared.examples]
        starts = [i for i, each in enumerate(ids) if i == 0 or each != ids[i - 1]]
        means: Values = np.add.reduceat(scores, starts) / np.diff([*starts, len(ids)])
        return means

    result = race(list(running), _rounds(vlm, task, pictures, running), score)
    return {
        name: {
            "questions": sum(map(len, pictures[: len(result.values[name])])),
            "pictures": len(result.values[name]),
            "accuracy": float(result.values[name].mean()),
            "dropped": name not in result.left,
        }
        for name in result.order
    }


def _rounds(
    vlm: VLM, task: Task, pictures: list[list[Example]], running: dict[str, Pruner]
) -> Iterator[PreparedTask]:
    """Round by round, all questions about some more pictures; those of a round that is over are released."""
    rounds: list[list[Example]] = [[]]
    for questions in pictures:
        if len(rounds[-1]) >= ROUND:
            rounds.append([])
        rounds[-1] += questions
    for examples in track(rounds, f"racing {len(running)} pruners", len(rounds)):
        yield PreparedTask.of(vlm, task, examples, signals=_signals(running))


def _signals(methods: dict[str, Pruner]) -> frozenset[str]:
    return frozenset().union(*(method.required_signals for method in methods.values()))


def _finalists(methods: dict[str, Pruner], order: list[str]) -> dict[str, Pruner]:
    """The leader, and what it has to be compared with: the runner-up and the free baselines."""
    free = [name for name in methods if name == next(iter(methods)) or name.partition(":")[0] in FREE]
    return {name: methods[name] for name in [*order[:2], *free]}


def _confirm(
    vlm: VLM, task: Task, pictures: list[list[Example]], finalists: dict[str, Pruner], tolerance: float
) -> Confirmation:
    """What the first of the finalists does on questions that did not choose it."""
    examples = [example for questions in pictures for example in questions]
    prepared = PreparedTask.of(vlm, task, examples, signals=_signals(finalists))
    confirming = track(finalists.items(), "confirming", len(finalists))
    runs = {name: prepared.run(method) for name, method in confirming}
    leader, budget = next(iter(finalists)), next(iter(finalists.values())).keep
    smaller = prepared.on_resized(lambda _: budget)
    scores = {UNPRUNED: prepared.whole} | {name: scores for name, (scores, _) in runs.items()}
    scores[RESIZED] = smaller.whole
    lost = tolerance * float(prepared.whole.mean())  # as much quality may be lost
    return {
        "questions": len(examples),
        "pictures": len(pictures),
        "enough_pictures": len(pictures) >= FEWEST_PICTURES,
        "pictures_needed": pictures_needed(scores[leader] - prepared.whole, prepared.pictures, lost),
        "blind": float(prepared.blind.mean()),
        "accuracy": {name: float(each.mean()) for name, each in scores.items()},
        "tokens": {UNPRUNED: _tokens(prepared), RESIZED: _tokens(smaller)}
        | {name: kept for name, (_, kept) in runs.items()},
        "difference_to": {
            name: [
                float((scores[leader] - each).mean()),
                *paired_interval(scores[leader] - each, prepared.pictures),
            ]
            for name, each in scores.items()
            if name != leader
        },
    }


def _tokens(prepared: PreparedTask) -> float:
    """How many visual tokens a prompt has, the mean."""
    return float(np.mean([len(prompt.visual) for prompt in prepared.prompts]))


def _time(taken: BatchLatency) -> Time:
    """Milliseconds of a question without and with pruning, medians, and how many times as fast it is."""
    assert taken["ratio"] is not None, "a pruner was timed"
    ratio, low, high = taken["ratio"]["total"]
    return {
        "rounds": CLOCK.rounds,
        "unpruned_ms": taken["unpruned_milliseconds"],
        "pruned_ms": taken["milliseconds"],
        "speed_up": [1 / ratio, 1 / high, 1 / low],
    }
