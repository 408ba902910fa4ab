"""A quick look at a checkpoint on validation: accuracy by type of question as a first turn, as a second one,
and with a fifth of the visual tokens; the intermediate results of a training run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from gates import TURNS, by_turn
from wordsight import VLM
from wordsight._utils.files import replacing
from wordsight.evaluation.environment import environment
from wordsight.evaluation.prepared_task import PreparedTask
from wordsight.pruners.divprune import DivPrune
from wordsight.tasks.base import Task
from wordsight.tasks.clips import Clips
from wordsight.tasks.pairs import Pairs
from wordsight.tasks.scenes import Scenes

TASKS: dict[str, type[Task]] = {"scenes": Scenes, "pairs": Pairs, "clips": Clips}


def quick(
    model: Annotated[str, typer.Argument(help="a folder that training/export.py wrote")],
    questions: Annotated[int, typer.Option(help="of each task")] = 300,
    keep: float = 0.2,
    out: Annotated[Path | None, typer.Option(help="write the figures into this JSON file")] = None,
) -> None:
    """Print a table of validation accuracy."""
    record: dict[str, Any] = {}
    vlm = VLM.from_pretrained(model, dtype=torch.float32)
    table = Table("task", "type", "questions", *(f"{turn} turn" for turn in TURNS), f"{keep:.0%} by divprune")
    for name, make in TASKS.items():
        task = make(split="validation")
        asked = task.first(questions)
        prepared = PreparedTask.of(vlm, task, asked)
        turns = by_turn(vlm, task, asked, prepared.whole)
        pruned, _ = prepared.run(DivPrune(keep=keep))
        kinds = np.array([example.type for example in asked])
        record[name] = {}
        for kind, figures in turns.items():
            shown = {**figures, "pruned": float(pruned[kinds == kind].mean())}
            count = int((kinds == kind).sum())
            record[name][kind] = {"questions": count, **shown}
            table.add_row(name, kind, f"{count}", *(f"{value:.3f}" for value in shown.values()))
    Console().print(table)
    if out:
        command = f"python quick.py {Path(model).name} --questions {questions} --keep {keep}"
        record["environment"] = {**environment(vlm), "model": Path(model).name, "command": command}
        with replacing(out) as draft:
            draft.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(quick)
