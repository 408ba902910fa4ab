"""The paper's suites on the paper's models, at the paper's budgets: `make paper`.

Models and data sets are looked for by their names in the current folder and then on the hub, codebooks in
books/. What it costs is said before it begins. A suite of a model that is finished is a file in results/; one
that was killed goes on from its cells.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from wordsight import VLM, compare, pruners, tasks
from wordsight._utils.files import replacing
from wordsight._utils.numbers import percent
from wordsight.errors import UsageError, WordsightError, unknown
from wordsight.evaluation.comparison import Settings
from wordsight.evaluation.metrics import UNPRUNED
from wordsight.evaluation.prepared_task import seeded
from wordsight.evaluation.result_cache import cache_beside
from wordsight.evaluation.results import Results, Row
from wordsight.pruners.base import Pruner
from wordsight.reports.formats import markdown
from wordsight.reports.tables import Table
from wordsight.tasks.base import Task

HERE, OUT = Path(__file__).parent, Path("results")
say = Console(stderr=True, soft_wrap=True, highlight=False).print


@dataclass(frozen=True)
class Suite:
    """One of the paper's, whose score is the mean of those of its tasks. `media` counts the pictures or
    frames of every question, `results` is the name of its file.
    """

    name: str
    tasks: Sequence[Task]
    questions: int
    pictures: int
    media: int

    @property
    def results(self) -> str:
        return results_name(self.name)


@dataclass(frozen=True)
class Experiment:
    """A model of the paper: `parameters` of its language model, `tokens` a picture has at most, `keep` and
    `pruner` as of `wordsight compare`.
    """

    model: str
    parameters: float
    tokens: int
    keep: Sequence[float]
    pruner: Sequence[str]

    @cached_property
    def methods(self) -> list[Pruner]:
        return [
            pruners.make(f"{spec}{',' if ':' in spec else ':'}keep={keep}")
            for keep in self.keep
            for spec in self.pruner
        ]


def main(
    models: Annotated[list[str] | None, typer.Argument(help="of experiments/; all by default")] = None,
    suite: Annotated[list[str] | None, typer.Option(help="of suites.json; all by default")] = None,
    pruner: Annotated[list[str] | None, typer.Option(help="in place of those of the experiments")] = None,
    keep: Annotated[list[float] | None, typer.Option(help="in place of those of the experiments")] = None,
    pictures: Annotated[int, typer.Option(help="of each task, the first so many; 0 takes all")] = 1000,
) -> None:
    """Look for everything, say what it costs, run what is not there, and write a table."""
    listed = {each["suite"]: each for each in json.loads((HERE / "suites.json").read_text())}
    asked = [listed[name] for name in named("suite", suite, listed)]
    files = {path.stem: path for path in sorted((HERE / "experiments").glob("*.json"))}
    chosen = {}
    for name in named("model", models, files):
        given = json.loads(files[name].read_text()) | ({"pruner": pruner} if pruner else {})
        chosen[name] = Experiment(**given | ({"keep": keep} if keep else {}))
        _ = chosen[name].methods  # a SPEC or book that cannot be read is refused before data are looked for
    for place in [OUT / name / results_name(each["suite"]) for name in chosen for each in asked]:
        check_pictures(place, pictures or None)
    suites = [resolved(each, pictures or None) for each in asked]
    for name, experiment in chosen.items():
        tell_cost(name, experiment, suites)
    for name, experiment in chosen.items():
        run(experiment, suites, OUT / name, pictures or None)
    text = "\n".join(markdown(table(name, suites, OUT / name)) for name in chosen)
    with replacing(OUT / "table.md") as draft:
        draft.write_text(text)
    print(text)


def named(kind: str, given: Sequence[str] | None, known: Iterable[str]) -> list[str]:
    """Those that are given, or all, in the order of the known. Raises UsageError for one that is not."""
    names = list(known)
    for name in given or ():
        if name not in names:
            raise unknown(kind, name, names)
    return [name for name in names if name in (given or names)]


def results_name(suite: str) -> str:
    """Of the file of a suite."""
    return f"{suite.lower()}.json"


def check_pictures(results: Path, pictures: int | None) -> None:
    """Raises UsageError if the suite is finished, on another number of pictures: one table has one number."""
    before = results.exists() and Results.load(results).asked
    if before and before["pictures"] != pictures:
        raise UsageError(
            f"{results} is not of as many pictures: say --pictures {before['pictures'] or 0}, or delete it"
        )


def resolved(suite: dict[str, Any], pictures: int | None) -> Suite:
    """A suite whose tasks and data are there."""
    folder = os.path.relpath(HERE / "tasks")
    made = [tasks.make(name.format(tasks=folder)) for name in suite["tasks"]]
    examples = [example for task in made for example in task.first(None, pictures)]
    names = {example.picture_id for example in examples}
    media = suite.get("frames", 1) * sum(len(each.images) for each in examples)
    return Suite(suite["suite"], made, len(examples), len(names), media)


def tell_cost(name: str, experiment: Experiment, suites: Sequence[Suite]) -> None:
    """Visual tokens that are read before the answers, at most, and two operations of each weight for each."""
    budgets = [each.keep for method in experiment.methods for each in seeded(method)]
    reads = 1 + sum(budgets) + len(experiment.keep)  # of all tokens: unpruned, pruned, of resized pictures
    for suite in suites:
        tokens = reads * experiment.tokens * suite.media
        say(
            f"{name}, {suite.name}: {suite.pictures} pictures, {suite.questions} questions, "
            f"{2 + len(budgets) + len(experiment.keep)} answers to each; at most {tokens:.1e} visual tokens, "
            f"{2 * experiment.parameters * tokens:.1e} operations before the answers begin"
        )


def run(experiment: Experiment, suites: Sequence[Suite], out: Path, pictures: int | None) -> None:
    """Every suite that is not there."""
    left = [suite for suite in suites if not (out / suite.results).exists()]
    if not left:
        return
    out.mkdir(parents=True, exist_ok=True)
    vlm = VLM.from_pretrained(experiment.model)
    for suite in left:
        say(f"{experiment.model}: {suite.name}")
        with cache_beside(out / suite.results) as cache:
            settings = Settings(cache=cache, pictures=pictures)
            compare(vlm, suite.tasks, experiment.methods, settings=settings).save(out / suite.results)


def table(name: str, suites: Sequence[Suite], out: Path) -> Table:
    """A line for each method and budget: the score of each suite, what share of the unpruned model's score it
    keeps, the mean over suites, and how often it says yes where that or no is right.
    """
    rows = [Results.load(out / suite.results).rows for suite in suites]
    found = [scores(of_suite, "accuracy") for of_suite in rows]
    asked = zip(suites, (scores(of_suite, "yes_ratio") for of_suite in rows), strict=True)
    yes = {f"{suite.name}, yes": ratios for suite, ratios in asked if ratios}
    whole = next(key for key in found[0] if key[0] == UNPRUNED)
    body = []
    for key in dict.fromkeys(key for each in found for key in each):
        cells = [each.get(key) for each in found]
        kept = [
            cell / each[whole]
            for cell, each in zip(cells, found, strict=True)
            if cell is not None and each[whole]
        ]
        mean = percent(fmean(kept)) if len(kept) == len(found) else "-"
        said = [ratios.get(key) for ratios in yes.values()]
        body.append((key[0], percent(key[1]), *map(number, cells), mean, *map(number, said)))
    return Table(name, ("pruner", "keep", *(suite.name for suite in suites), "kept", *yes), body, keys=2)


def number(cell: float | None) -> str:
    """In a cell of the table."""
    return "-" if cell is None else f"{cell:.3f}"


def scores(rows: Sequence[Row], metric: Literal["accuracy", "yes_ratio"]) -> dict[tuple[str, float], float]:
    """Of each method and budget the mean over the tasks of a suite, where there is one."""
    found: dict[tuple[str, float], list[float]] = {}
    for row in rows:
        if row["tasks"] == 1 and (value := row.get(metric)) is not None:
            found.setdefault((row["pruner"], row["keep"] or 0.0), []).append(value)
    return {key: fmean(each) for key, each in found.items()}


if __name__ == "__main__":
    try:
        typer.run(main)
    except WordsightError as error:
        raise SystemExit(str(error)) from error
