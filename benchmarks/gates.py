"""The gates of the embedded model: held-out accuracy by type of question, for every training seed.

Targets were set before training; a gate that is missed is printed with its figure. As a second turn a
question must be answered right about as often as a first one.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from methods import Known, TrueObjects, key
from wordsight import VLM, compare
from wordsight._utils.files import replacing
from wordsight._utils.registry import spec
from wordsight.evaluation.environment import environment
from wordsight.evaluation.metrics import UNPRUNED
from wordsight.evaluation.prepared_task import PreparedTask, paired_interval
from wordsight.evaluation.statistics import Scores
from wordsight.models.conversation import Turn
from wordsight.pruners.random import Random
from wordsight.synthetic.scenes import SPLITS, render
from wordsight.tasks.base import Example, Task
from wordsight.tasks.clips import Clips
from wordsight.tasks.easy_vqa import EasyVqa
from wordsight.tasks.pairs import Pairs
from wordsight.tasks.scenes import Scenes

HERE = Path(__file__).parent
FOUND = HERE.parent / "build" / "gates"  # what is finished, by weights: a stopped run goes on
MODELS = {"1": "demo", "0": "benchmarks/models/whole-0", "2": "benchmarks/models/whole-2"}
SHIPPED = "1"  # the first of them
QUESTIONS = 1200
TASKS = {
    "easy_vqa": EasyVqa(),
    "scenes": Scenes(pictures=400),
    "pairs": Pairs(prompts=400),
    "clips": Clips(clips=600),
}
TARGETS = {
    "easy_vqa": {"all": 0.95},
    "scenes": {
        "existence": 0.93,
        "naming": 0.90,
        "background": 0.95,
        "color": 0.90,
        "relation": 0.80,
        "counting": 0.70,
    },
    "pairs": {"all": 0.85, "which": 0.85, "same": 0.85},
    "clips": {"all": 0.80, "direction": 0.80, "change": 0.80, "order": 0.80},
}
TURNS = ("first", "second")
SECOND = 0.03  # how much less often a question may be answered right as a second turn
OBJECT_TYPES = ("existence", "naming", "color", "counting", "relation", "location")


def main(
    seeds: Annotated[list[str] | None, typer.Argument(help="of training; all by default")] = None,
) -> None:
    """Write results/gates.json and print it as a table."""
    record: dict[str, Any] = {"targets": TARGETS, "second_turn_within": SECOND, "models": {}}
    for seed, name in MODELS.items():
        if seeds and seed not in seeds:
            continue
        vlm = VLM.from_pretrained(name)
        kept = FOUND / f"{digest_of(vlm)}.json"
        if not kept.exists():
            FOUND.mkdir(parents=True, exist_ok=True)
            with replacing(kept) as draft:
                draft.write_text(json.dumps(of_model(vlm)))
        record["models"][seed] = json.loads(kept.read_text())
        record["environment"] = environment(vlm)
    with replacing(HERE / "results" / "gates.json") as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")
    _print(record)


def digest_of(vlm: VLM) -> str:
    """What tells a model and what is asked of it from others."""
    asked = [QUESTIONS, *map(spec, TASKS.values())]
    return hashlib.sha256(repr([vlm.fingerprint, vlm.parts, asked]).encode()).hexdigest()[:32]


def of_model(vlm: VLM) -> dict[str, Any]:
    """All that is measured of one model."""
    results = compare(vlm, list(TASKS.values()), [], limit=QUESTIONS)
    rows = [row for row in results.rows if row["tasks"] == 1]
    accuracy, second_turn = {}, {}
    for (name, task), row, answers in zip(TASKS.items(), rows, results.answers, strict=True):
        figures = {key: row[key] for key in ("accuracy", "low", "high", "blind")}
        accuracy[name] = {"all": figures, **row["by_type"]}
        first = next(each["scores"][0] for each in answers["answered"] if each["pruner"] == UNPRUNED)
        second_turn[name] = by_turn(vlm, task, task.first(QUESTIONS), np.array(first))
    return {"accuracy": accuracy, "second_turn": second_turn, "true_objects": true_objects(vlm)}


def by_turn(vlm: VLM, task: Task, asked: list[Example], first: Scores) -> dict[str, dict[str, float]]:
    """Accuracy by type of questions that were asked first, with these scores, and of the same ones asked
    second.
    """
    again = second_turns(task, asked)
    examples = [*again.values()]
    scores = first[[*again]], PreparedTask.of(vlm, task, examples).whole
    kinds = np.array([example.type for example in examples])
    return {
        str(kind): {name: float(turn[kinds == kind].mean()) for name, turn in zip(TURNS, scores, strict=True)}
        for kind in np.unique(kinds)
    }


def second_turns(task: Task, asked: list[Example]) -> dict[int, Example]:
    """Questions of a task by their place, each after another one about the same pictures, which was answered
    right; those about pictures of one question are left out.
    """
    about: dict[str, list[Turn]] = defaultdict(list)
    for example in task.first(None, pictures=len({example.picture_id for example in asked})):
        about[example.picture_id].append((example.question, example.answer))
    found = {}
    for i, example in enumerate(asked):
        turns = about[example.picture_id]
        before = turns[turns.index((example.question, example.answer)) - 1]
        if len(turns) > 1:
            found[i] = replace(example, turns=(before,))
    return found


def true_objects(vlm: VLM) -> dict[str, float]:
    """Accuracy on object questions with 5 % of the tokens: those of true objects, and random ones."""
    task = TASKS["scenes"]
    asked = [example for example in task.first(QUESTIONS) if example.type in OBJECT_TYPES]
    prepared = PreparedTask.of(vlm, task, asked)
    mask, _ = prepared.run(TrueObjects(keep=0.05, known=known_objects(prepared)))
    drawn, _ = prepared.run(Random(keep=0.05))
    low, high = paired_interval(mask - drawn, prepared.pictures)
    return {
        "true_objects": float(mask.mean()),
        "random": float(drawn.mean()),
        "difference": float(np.mean(mask - drawn)),
        "low": low,
        "high": high,
    }


def known_objects(prepared: PreparedTask) -> Known:
    """Which tokens of every picture of the task belong to a true object."""
    known: Known = {}
    for example, prompt in zip(prepared.examples, prepared.prompts, strict=True):
        if (name := key(prompt.visual.embeds)) not in known:
            owner = render(SPLITS[prepared.task.split] + int(example.picture_id)).owner
            known[name] = {"object": (torch.from_numpy(owner).flatten() >= 0).float()}
    return known


def _print(record: dict[str, Any]) -> None:
    table = Table("task", "type", "target", *(f"seed {seed}" for seed in record["models"]), "blind, shipped")
    for task, targets in TARGETS.items():
        rows = [model["accuracy"][task] for model in record["models"].values()]
        for kind in rows[0]:
            target = targets.get(kind)
            cells = [
                f"{row[kind]['accuracy']:.3f}"
                + ("" if target is None or row[kind]["accuracy"] >= target else " missed")
                for row in rows
            ]
            table.add_row(task, kind, f"{target or ''}", *cells, f"{rows[0][kind]['blind']:.3f}")
    turns = Table("task", "type", *(f"seed {seed}: first, second turn" for seed in record["models"]))
    for task in TARGETS:
        rows = [model["second_turn"][task] for model in record["models"].values()]
        for kind in rows[0]:
            turns.add_row(task, kind, *(_turns(row[kind]) for row in rows))
    Console(width=120).print(
        table, turns, {seed: model["true_objects"] for seed, model in record["models"].items()}
    )


def _turns(figures: dict[str, float]) -> str:
    first, second = (figures[name] for name in TURNS)
    return f"{first:.3f}, {second:.3f}" + (" missed" if second < first - SECOND else "")


if __name__ == "__main__":
    typer.run(main)
