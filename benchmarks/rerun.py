"""Measure one row of results of `wordsight compare` again, and show every answer that is not the same.

python benchmarks/rerun.py benchmarks/results/pruners.json divprune --keep 0.1

in the root of a clone, since what lies in it is named from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from wordsight import VLM, tasks
from wordsight._utils.progress import track
from wordsight._utils.registry import spec
from wordsight.errors import FileError, UsageError
from wordsight.evaluation.comparison import Budget, TaskRun
from wordsight.evaluation.environment import Weights, machine
from wordsight.evaluation.metrics import BLIND, RESIZED, UNPRUNED
from wordsight.evaluation.result_cache import ResultCache, Selection
from wordsight.evaluation.results import Answered, Results, TaskAnswers
from wordsight.pruners import make

ANY_PRUNER = "random"  # beside which none, resized and blind are measured


def main(  # the options of a command
    file: Annotated[Path, typer.Argument(help="results of `wordsight compare`, with answers")],
    pruner: Annotated[str, typer.Argument(help="as the row names it; none, resized or blind, too")],
    keep: Annotated[float | None, typer.Option(help="of the row, if the pruner has several")] = None,
    tokens: Annotated[int | None, typer.Option(help="of the row, in place of keep")] = None,
    task: Annotated[list[str] | None, typer.Option(help="one of its tasks; all by default")] = None,
) -> None:
    """Print how many answers are the same, task by task, and the others. Exits with 1 if there are any."""
    results, pruner = read(file), label(pruner)
    names = dict.fromkeys(of["task"] for of in results.answers)
    short = {name.partition(":")[0] for name in names}
    if unknown := set(task or ()) - names.keys() - short:
        known = ", ".join(names) or "none, as of format 1 and 2, which have no answers"
        raise typer.BadParameter(f"expected tasks of {known}, got {unknown.pop()}")
    wanted = [
        of for of in results.answers if not task or {of["task"], of["task"].partition(":")[0]} & {*task}
    ]
    rows = [(of, row_of(of, pruner, keep, tokens)) for of in wanted]
    others = 0
    for weights in results.environment["models"]:
        vlm, own = load(weights), [pair for pair in rows if pair[0]["model"] == weights["model"]]
        for of, row in track(own, f"tasks of {vlm.name}", len(own)):
            now = answers_of(vlm, of, row, results.asked or {"limit": None, "pictures": None})
            questions = [each["question"] for each in of["questions"]] * len(now)
            texts = ([text for each in seeds for text in each] for seeds in (row["texts"], now))
            others += told(f"{vlm.name}, {of['task']}, {named(row)}", questions, *texts)
    end(others, results.environment)


def label(pruner: str) -> str:
    """By what rows call a pruner, whatever is left out of its SPEC; of what is none, what is given."""
    try:
        return spec(make(pruner))
    except UsageError:
        return pruner


def told(row: str, questions: Sequence[str], before: Sequence[str], now: Sequence[str]) -> int:
    """Print how many answers of a row are the same, and those that are not; returns the number of these."""
    pairs = zip(questions, before, now, strict=True)
    others = [f"{question} {old!r} before, {new!r} now" for question, old, new in pairs if old != new]
    print(f"{row}: {len(now) - len(others)} of {len(now)} answers are the same", *others, sep="\n")
    return len(others)


def end(others: int, environment: Mapping[str, Any]) -> None:
    """Exit with 1 if there are other answers, with what may be why."""
    if not others:
        return
    measured_by, here = (of.get("instructions") for of in (environment, machine()))
    if measured_by and measured_by != here:
        print(f"measured by {measured_by}, here by {here}: last digits may differ, and answers that tie")
    print(f"measured on {environment.get('date')}: what the pruner reads, or its defaults, may be others now")
    raise SystemExit(1)


def read(file: Path) -> Results:
    """The results in a file. Raises BadParameter if it holds none."""
    try:
        return Results.load(file)
    except FileError as error:
        raise typer.BadParameter(str(error)) from error


def load(weights: Weights) -> VLM:
    """The model of the results. Raises BadParameter if what is here by its name is another."""
    vlm = VLM.from_pretrained(weights["model"])
    if vlm.fingerprint != weights["fingerprint"]:
        raise typer.BadParameter(
            f"the results are of {weights['model']} with fingerprint {weights['fingerprint']}; here it has "
            f"{vlm.fingerprint}"
        )
    return vlm


def answers_of(vlm: VLM, of: TaskAnswers, row: Answered, asked: Selection) -> list[list[str]]:
    """What a model says now to the questions of a task, for each seed, by the pruner of a row. Raises
    BadParameter if the task asks others.
    """
    task = tasks.make(of["task"])
    examples = task.first(asked["limit"], asked["pictures"])
    if [each.question for each in examples] != [each["question"] for each in of["questions"]]:
        raise typer.BadParameter(f"{of['task']} asks other questions than when the results were written")
    name = row["pruner"]
    pruner = make(ANY_PRUNER if name in (UNPRUNED, RESIZED, BLIND) else name)
    if row["keep"] or row["tokens"]:  # of blind it is no token
        pruner = pruner.with_budget(keep=row["keep"], tokens=row["tokens"])
    run = TaskRun(vlm, task, examples, [pruner], ResultCache(None))
    (measurement,) = (each for each in run.measurements if each.name == name)
    return run.result(measurement).answers


def row_of(of_task: TaskAnswers, pruner: str, keep: float | None, tokens: int | None) -> Answered:
    """What was said by a pruner at a budget. Raises BadParameter if it is not there, or at several."""
    found = [each for each in of_task["answered"] if each["pruner"] == pruner]
    if not found:
        names = dict.fromkeys(each["pruner"] for each in of_task["answered"])
        raise typer.BadParameter(f"expected one of {', '.join(names)}, got {pruner}")
    asked, any_budget = Budget(keep, tokens), keep is None and tokens is None
    exact = [each for each in found if any_budget or budget_of(each) == asked]
    if len(exact) != 1:
        got = "none" if any_budget else str(asked)
        known = ", ".join(str(budget_of(each)) for each in found)
        raise typer.BadParameter(f"{pruner} was measured at {known}: expected one of these, got {got}")
    return exact[0]


def budget_of(row: Answered) -> Budget:
    return Budget(row["keep"], row["tokens"])


def named(row: Answered) -> str:
    """Its pruner, with its budget if it has one."""
    name = row["pruner"]
    return name if name in (UNPRUNED, BLIND) else f"{name} at {budget_of(row)}"


if __name__ == "__main__":
    typer.run(main)
