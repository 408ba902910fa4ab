"""Which families pass which tests, on the newest transformers and the oldest: the table of docs/models.md.

`python benchmarks/families.py gemma4,ovis2` runs these alone, and keeps what the results say of all others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pages import write_between
from wordsight._utils.files import replacing

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "families.json"
COLUMNS = ("image", "images", "video", "batch", "chat", "probe", "codebook", "pruners", "attach", "bfloat16")
PATHS = (".venv/families", ".venv/oldest:.venv/families")  # of the newest and the oldest, from the Makefile


def main() -> None:
    """Run the tests, write results/families.json and the table."""
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    with ThreadPoolExecutor(len(PATHS)) as both:
        runs = list(both.map(lambda path: _run(path, only), PATHS))
    if only:
        before = json.loads(RESULTS.read_text())["runs"]
        runs = [_with_others(run, kept) for run, kept in zip(runs, before, strict=True)]
    record: dict[str, Any] = {
        "command": "python benchmarks/families.py",
        "date": date.today().isoformat(),
        "python": sys.version.split()[0],
        "runs": runs,
    }
    with replacing(RESULTS) as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")
    write_between(ROOT / "docs" / "models.md", "families", table(runs))


def _with_others(run: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    """A run with what an earlier one says of families that it leaves out. Raises ValueError if that was of
    another transformers.
    """
    if run["transformers"] != kept["transformers"]:
        raise ValueError(f"results are of transformers {kept['transformers']}; run all families again")
    return {**run, "outcomes": dict(sorted({**kept["outcomes"], **run["outcomes"]}.items()))}


def _run(path: str, only: str) -> dict[str, Any]:
    """The report of one run of tests/families, its outcomes counted."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pytest", "-q", "tests/families", "--confcutdir=tests/families"]
        command += [f"--families={only}"] * bool(only)
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        code = subprocess.run([*command, f"--report={report}"], cwd=ROOT, env=environment).returncode
        if code not in (0, 1):  # tests that fail are in the table
            raise SystemExit(f"{' '.join(command)} ended with {code}")
        results = json.loads(report.read_text())
    counted = {
        family: {column: dict(Counter(outcomes)) for column, outcomes in columns.items()}
        for family, columns in sorted(results["passed"].items())
    }
    return {"transformers": results["transformers"], "outcomes": counted}


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown: how many tests passed of those that ran, both runs together; "-" is what a family cannot."""
    lines = [f"| family | {' | '.join(COLUMNS)} |", f"|---{'|---' * len(COLUMNS)}|"]
    for family in runs[0]["outcomes"]:
        cells = []
        for column in COLUMNS:
            total: Counter[str] = Counter()
            for run in runs:
                total.update(run["outcomes"].get(family, {}).get(column, {}))
            cells.append(f"{total['passed']}/{total.total()}" if total.total() else "-")
        lines.append(f"| {family} | {' | '.join(cells)} |")
    cases = sum(
        sum(counts.values())
        for run in runs
        for columns in run["outcomes"].values()
        for counts in columns.values()
    )
    versions = " and ".join(run["transformers"] for run in runs)
    return "\n".join(lines) + f"\n\n{cases} cases, transformers {versions}.\n"


if __name__ == "__main__":
    main()
