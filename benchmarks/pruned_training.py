"""How much of what pruning keeps was learned in training: what a model loses that never saw a pruned prompt,
beside one of the same tower and seed that learned from them (recipes `whole` and `pruned` of training/).

One seed of each, validation pictures, one question each. What goes with such training is the difference of
the two losses, over pictures, for these two models; that of other seeds may differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from bars import COVERAGE, KEEPS, row_label
from fresh import EACH
from over_models import corrected, pooled, said
from pages import write_between
from seeds import Answers, answers_to
from wordsight import VLM
from wordsight._utils.files import replacing
from wordsight._utils.numbers import signed
from wordsight._utils.registry import spec
from wordsight.evaluation.environment import machine
from wordsight.evaluation.result_cache import ResultCache
from wordsight.pruners import make
from wordsight.reports.formats import markdown
from wordsight.reports.tables import Table
from wordsight.tasks.captions import Captions
from wordsight.tasks.clips import Clips
from wordsight.tasks.pairs import Pairs
from wordsight.tasks.scenes import Scenes

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "training" / "README.md"
MODELS = {"whole": "demo", "pruned": "benchmarks/models/pruned-1"}
PRUNERS = ("divprune", COVERAGE)
TASKS = {
    "scenes": Scenes(split="validation", pictures=EACH),
    "pairs": Pairs(split="validation", prompts=EACH),
    "clips": Clips(split="validation", clips=EACH + 100),  # there is nothing to ask about a few
}
# Only one of the two writes them well, and what scores little can lose little.
BESIDE = {"captions": Captions(split="validation", pictures=EACH)}


def main(folder: Annotated[Path, typer.Argument(help="for what was measured")]) -> None:
    """Write results/pruned_training.json and its table in training/README.md."""
    pruners = {(name, keep): replace(make(name), keep=keep) for name in PRUNERS for keep in KEEPS}
    found, beside = dict[str, Answers](), dict[str, Answers]()
    for recipe, model in MODELS.items():
        vlm = VLM.from_pretrained(model, dtype=torch.float32)
        for into, tasks in ((found, TASKS), (beside, BESIDE)):
            into[recipe] = answers_to([*tasks.values()], vlm, pruners, ResultCache(folder / recipe))
    record = {**record_of(found), "beside": accuracies(beside, BESIDE)}
    with replacing(ROOT / "benchmarks" / "results" / "pruned_training.json") as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")
    write_between(PAGE, "pruned training", markdown(losses(record)))


def record_of(found: dict[str, Answers]) -> dict[str, Any]:
    """Accuracies by task, what is lost of all, and the loss of `whole` less that of `pruned`, corrected for
    all rows.
    """
    (pictures,) = {tuple(answers.pictures) for answers in found.values()}  # both are asked the same
    level = corrected(len(PRUNERS) * len(KEEPS))

    def lost(recipe: str, name: str, keep: float) -> NDArray[np.float64]:
        answers = found[recipe]
        return answers.of_all("none", 1.0) - answers.of_all(name, keep)

    def gap(name: str, keep: float) -> NDArray[np.float64]:
        return (lost("whole", name, keep) - lost("pruned", name, keep))[None]

    rows = [(name, keep) for keep in KEEPS for name in PRUNERS]
    return {
        "accuracy": accuracies(found, TASKS),
        "lost": {
            f"{name} {keep}": {recipe: float(lost(recipe, name, keep).mean()) for recipe in found}
            for name, keep in rows
        },
        "level": level,
        "by training": {f"{name} {keep}": pooled(gap(name, keep), pictures, level) for name, keep in rows},
        "models": {recipe: each.weights for recipe, each in found.items()},
        "tasks": [spec(task) for task in TASKS.values()],
        "command": "python benchmarks/pruned_training.py build/pruned_training",
        "environment": machine(),
    }


def accuracies(found: dict[str, Answers], tasks: Iterable[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Of every recipe and row, by task."""
    return {
        recipe: {
            f"{name} {keep}": dict(zip(tasks, (float(of.mean()) for of in scores), strict=True))
            for (name, keep), scores in each.scores.items()
        }
        for recipe, each in found.items()
    }


def losses(record: dict[str, Any]) -> Table:
    """A row for every pruner and keep: what each recipe loses, and how much more the one that saw none."""
    body = []
    for row, by_recipe in record["lost"].items():
        name, keep = row.rsplit(" ", 1)
        ends = record["by training"][row]["interval"]
        each = (f"{by_recipe[recipe]:.3f}" for recipe in MODELS)
        body.append((row_label(name), f"{float(keep):.0%}", *each, signed(ends), said(ends)))
    head = (
        "pruner",
        "keep",
        *(f"{recipe} loses" for recipe in MODELS),
        "difference [corrected]",
        "concluded",
    )
    return Table("Pruned training", head, body)


if __name__ == "__main__":
    typer.run(main)
