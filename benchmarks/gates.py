"""The gates of the embedded model: held-out accuracy by type of question, for every training seed.

Targets were set before training; a gate that is missed is printed with its figure. As a second turn a
question must be answered right about as often as a first one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from methods import Known, TrueObjects, key
from wordsight import VLM, compare
from wordsight._utils.files import replacing
from wordsight.evaluation.environment import environment
from wordsight.evaluation.prepared_task import PreparedTask
from wordsight.models.conversation import Turn
from wordsight.pruners.random import Random
from wordsight.synthetic.scenes import SPLITS, render
from wordsight.tasks.base import Example, Task
from wordsight.tasks.clips import Clips
from wordsight.tasks.easy_vqa import EasyVqa
from wordsight.tasks.pairs import Pairs
from wordsight.tasks.scenes import Scenes

HERE = Path(__file__).parent
SEEDS = HERE / "models"  # `make train-seeds`
MODELS = {"1": "demo", "0": str(SEEDS / "seed0"), "2": str(SEEDS / "seed2")}  # the first ships
MODELS |= {f"{seed} {name}": str(SEEDS / f"{name}-{seed}") for name in ("pruned", "silent") for seed in "102"}
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


def main() -> None:
    """Write results/gates.json and print it as a table."""
    record: dict[str, Any] = {"targets": TARGETS, "second_turn_within": SECOND, "models": {}}
    for seed, name in MODELS.items():
        if name != "demo" and not Path(name).exists():
            continue
        vlm = VLM.from_pretrained(name)
        rows = compare(vlm, list(TASKS.values()), [], limit=QUESTIONS).rows
        accuracy = {
            task: {"all": {key: row[key] for key in ("accuracy", "low", "high", "blind")}, **row["by_type"]}
            for task, row in zip(TASKS, [row for row in rows if row["tasks"] == 1], strict=True)
        }
        record["models"][seed] = {
            "accuracy": accuracy,
            "second_turn": {name: by_turn(vlm, task, task.first(QUESTIONS)) for name, task in TASKS.items()},
            "true_objects": true_objects(vlm),
        }
        record["environment"] = environment(vlm)
    with replacing(HERE / "results" / "gates.json") as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")
    _print(record)


def by_turn(vlm: VLM, task: Task, asked: list[Example]) -> dict[str, dict[str, float]]:
    """Accuracy by type of questions that are asked first, and of the same ones asked second."""
    second = second_turns(task, asked)
    first = [replace(example, turns=()) for example in second]
    scores = [PreparedTask.of(vlm, task, examples).whole for examples in (first, second)]
    kinds = np.array([example.type for example in second])
    return {
        str(kind): {name: float(turn[kinds == kind].mean()) for name, turn in zip(TURNS, scores, strict=True)}
        for kind in np.unique(kinds)
    }


def second_turns(task: Task, asked: list[Example]) -> list[Example]:
    """Questions of a task, each after another one about the same pictures, which was answered right; those
    about pictures of one question are left out.
    """
    about: dict[str, list[Turn]] = defaultdict(list)
    for example in task.first(None, pictures=len({example.picture_id for example in asked})):
        about[example.picture_id].append((example.question, example.answer))
    found = []
    for example in asked:
        turns = about[example.picture_id]
        before = turns[turns.index((example.question, example.answer)) - 1]
        if len(turns) > 1:
            found.append(replace(example, turns=(before,)))
    return found


def true_objects(vlm: VLM) -> dict[str, float]:
    """Accuracy on object questions with 5 % of the tokens: those of true objects, and random ones."""
    task = TASKS["scenes"]
    asked = [example for example in task.first(QUESTIONS) if example.type in OBJECT_TYPES]
    prepared = PreparedTask.of(vlm, task, asked)
    mask, _ = prepared.run(TrueObjects(keep=0.05, known=known_objects(prepared)))
    drawn, _ = prepared.run(Random(keep=0.05))
    low, high = prepared.interval(mask - drawn)
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
    main()
