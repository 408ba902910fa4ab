"""Run every experiment of experiments/*.json through the command line, then write the README table from the
results.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from wordsight.report.formats import markdown
from wordsight.report.tables import summary

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- table: {} -->\n", "<!-- end -->"


def run(experiment: Path) -> Path:
    """One `wordsight compare`; its rows and environment go to results/<name>.json."""
    asked = json.loads(experiment.read_text())
    out = HERE / "results" / experiment.name
    command = [
        "wordsight",
        "compare",
        "--limit",
        str(asked["limit"]),
        "--out",
        str(out.relative_to(HERE.parent)),
    ]
    for option, values in (
        ("--task", asked["tasks"]),
        ("--pruner", asked["pruners"]),
        ("--keep", asked["keeps"]),
    ):
        for value in values:
            command += [option, str(value)]
    subprocess.run([sys.executable, "-m", *command], check=True, cwd=HERE.parent)
    return out


def write_table(results: Path) -> None:
    """Put the summary of a run between the README's markers of the same name."""
    write_between(README, results.stem, markdown(summary(json.loads(results.read_text())["rows"])))


def write_between(page: Path, name: str, table: str) -> None:
    """Put the table between the page's markers of this name, if it has them."""
    text = page.read_text()
    before, found, rest = text.partition(BEGIN.format(name))
    if found:
        page.write_text(before + found + table + END + rest.partition(END)[2])


if __name__ == "__main__":
    for path in sorted((HERE / "experiments").glob("*.json")):
        write_table(run(path))
