"""Run every experiment of experiments/*.json through the command line, then write the tables and the figure
from the results, those of docs/results.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from bars import as_published, bars, concluded, in_brief, row_label
from pages import PAGE, write_between
from wordsight._utils.files import replacing
from wordsight.evaluation.results import Results
from wordsight.reports.formats import markdown
from wordsight.reports.palette import LIGHT
from wordsight.reports.pareto import draw
from wordsight.reports.tables import Table, comparison, contributions, summary, times

HERE = Path(__file__).parent
ROOT = HERE.parent


def main(
    names: Annotated[list[str] | None, typer.Argument(help="of experiments; all by default")] = None,
    tables_only: Annotated[bool, typer.Option(help="write the tables of results that are there")] = False,
    processes: Annotated[int, typer.Option(help="that measure a part each, of what has no times")] = 1,
) -> None:
    """Run and write."""
    experiments = sorted((HERE / "experiments").glob("*.json"))
    for path in experiments:
        if not names or path.stem in names:
            results = HERE / "results" / path.name
            if not tables_only:
                run(path, results, processes)
            write(path.stem, Results.load(results), json.loads(path.read_text()))


def run(experiment: Path, results: Path, processes: int) -> None:
    """`wordsight compare` with the experiment's options; rows and environment go to `results`."""
    command = [sys.executable, "-m", "wordsight", "compare", "--out", str(results.relative_to(ROOT))]
    options = json.loads(experiment.read_text())
    for option, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            command += [f"--{option}", str(each)]
    if processes > 1 and "timing" not in options:
        parts = [[*command, "--part", f"{number}/{processes}"] for number in range(processes)]
        running = [subprocess.Popen(part, cwd=ROOT) for part in parts]
        codes = [each.wait() for each in running]
        if any(codes):
            raise SystemExit(f"a part of {experiment.stem} failed; the same command goes on")
    subprocess.run(command, check=True, cwd=ROOT)


def write(name: str, results: Results, options: dict[str, Any]) -> None:
    """The tables of an experiment, if the page has markers for them, and its figure."""
    rows = results.rows
    one_task = dict.fromkeys(row["task"] for row in rows if row["tasks"] == 1)
    by_task = [summary([row for row in rows if row["task"] == task]) for task in one_task]
    made = {
        name: markdown(summary(rows)),
        f"{name}, by task": "".join(f"\n{markdown(table)}" for table in by_task),
        f"{name}, contributions": markdown(contributions(rows)),
        f"{name}, differences": markdown(comparison([row for row in rows if row["tasks"] > 1])),
    }
    if "timing" in options:
        made[f"{name}, times"] = markdown(_ratios(times([row for row in rows if row["timing"]])))
    elif "reference" in options:
        made[f"{name}, bars"] = markdown(bars(results, options["reference"]))
        made[f"{name}, concluded"] = markdown(concluded(results, options["reference"]))
        write_between(ROOT / "README.md", f"{name}, in brief", markdown(in_brief(rows, options["reference"])))
        with replacing(ROOT / "docs" / f"{name}.png") as draft:
            draft.write_bytes(draw([{**row, "pruner": row_label(row["pruner"])} for row in rows], LIGHT))
    elif name == "published":
        made[name] = markdown(as_published(results, Results.load(HERE / "results" / "pruners.json")))
    for mark, table in made.items():
        write_between(PAGE, mark, table)


def _ratios(table: Table) -> Table:
    """The table without milliseconds, which are those of a machine that was shared."""
    left = [i for i, column in enumerate(table.head) if not column.endswith(" ms")]
    body = [tuple(cells[i] for i in left) for cells in table.body]
    return replace(table, head=tuple(table.head[i] for i in left), body=body)


if __name__ == "__main__":
    typer.run(main)
