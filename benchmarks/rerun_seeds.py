"""Measure one row of the results of several seeds again, and show every answer that is not the same.

python benchmarks/rerun_seeds.py build/seeds scope:alpha=0 --keep 0.1 --seed 2
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bars import KEEPS
from fresh import EACH, TASKS
from rerun import end, label, told
from seeds import PRUNERS, RESULTS, model_of, pruners_of
from wordsight._utils.registry import spec
from wordsight.evaluation.comparison import TaskRun
from wordsight.evaluation.result_cache import ResultCache


def main(
    folder: Annotated[Path, typer.Argument(help="for the codebooks of seeds that do not ship")],
    pruner: Annotated[str, typer.Argument(help="as the results name it")],
    keep: Annotated[float | None, typer.Option(help="all by default")] = None,
    seed: Annotated[str | None, typer.Option(help="all by default")] = None,
) -> None:
    """Print how many answers are the same, task by task, and the others. Exits with 1 if there are any.

    Raises BadParameter if the results have no such row, or are of other weights than those that are here.
    """
    record, pruner = json.loads(RESULTS.read_text()), label(pruner)
    known = {"pruner": PRUNERS, "keep": KEEPS, "seed": [*record["models"]]}
    given = {"pruner": pruner, "keep": keep, "seed": seed}
    for name, value in given.items():
        if value is not None and value not in known[name]:
            raise typer.BadParameter(f"expected one of {', '.join(map(str, known[name]))}, got {value}")
    others = 0
    for each in known["seed"] if seed is None else [seed]:
        vlm, weights = model_of(each), record["models"][each]
        if vlm.fingerprint != weights["fingerprint"]:
            raise typer.BadParameter(
                f"the results of seed {each} are of fingerprint {weights['fingerprint']}; here it has "
                f"{vlm.fingerprint}"
            )
        methods = [of for of in pruners_of(pruner, each, folder / each) if keep in (None, of.keep)]
        for number, task in enumerate(TASKS):
            examples = task.first(EACH, EACH)
            run = TaskRun(vlm, task, examples, methods, ResultCache(None))
            questions = [example.question for example in examples]
            for method in methods:
                before = record["answers"][each][f"{pruner} {method.keep}"][number]
                row = f"seed {each}, {spec(task)}, {pruner} at {method.keep:.0%}"
                others += told(row, questions, before, run.result(run.of(method)).answers[0])
    end(others, record["environment"])


if __name__ == "__main__":
    typer.run(main)
