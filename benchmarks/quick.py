"""A quick look at a checkpoint on validation: accuracy by type of question as a first turn, as a second one,
and with a fifth of the visual tokens; the intermediate results of a training run.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from gates import TURNS, by_turn
from wordsight import VLM
from wordsight.evaluation.prepared_task import PreparedTask
from wordsight.pruners.divprune import DivPrune
from wordsight.tasks.clips import Clips
from wordsight.tasks.pairs import Pairs
from wordsight.tasks.scenes import Scenes

TASKS = {"scenes": Scenes, "pairs": Pairs, "clips": Clips}


def quick(
    model: Annotated[str, typer.Argument(help="a folder that training/export.py wrote")],
    questions: Annotated[int, typer.Option(help="of each task")] = 300,
    keep: float = 0.2,
) -> None:
    """Print a table of validation accuracy."""
    vlm = VLM.from_pretrained(model)
    table = Table("task", "type", "questions", *(f"{turn} turn" for turn in TURNS), f"{keep:.0%} by divprune")
    for name, make in TASKS.items():
        task = make(split="validation")
        asked = task.first(questions)
        turns = by_turn(vlm, task, asked)
        pruned, _ = PreparedTask.of(vlm, task, asked).run(DivPrune(keep=keep))
        kinds = np.array([example.type for example in asked])
        for kind, figures in turns.items():
            shown = (*(figures[turn] for turn in TURNS), pruned[kinds == kind].mean())
            table.add_row(name, kind, f"{(kinds == kind).sum()}", *(f"{value:.3f}" for value in shown))
    Console().print(table)


if __name__ == "__main__":
    typer.run(quick)
