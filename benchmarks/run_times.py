"""What the commands of the README's table take on the embedded model; writes the table."""

from __future__ import annotations

import json
import os
import resource
import shlex
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import wordsight.demo
from pages import write_between
from wordsight._utils.files import replacing
from wordsight.evaluation.environment import machine
from wordsight.synthetic.scenes import save_scenes

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "run_times.json"
PICTURE = wordsight.demo.PICTURES / "garden.png"
QUESTION = "'what is in the background?'"
JOBS = {  # what somebody wants: the command, and the options that it is timed with
    "an answer, with fewer tokens": ("ask", f"{PICTURE} {QUESTION} --pruner scope:alpha=0 --keep 0.2"),
    "what every token says, as a picture": ("probe", f"{PICTURE} --out words.png"),
    "why a token is dropped: a page": ("explain", f"{PICTURE} --question {QUESTION} --out page.html"),
    "how good pruners are": (
        "compare",
        "--task scenes --pruner divprune --pruner random --keep 0.2 --limit 200 --out results.json",
    ),
    "which pruner for my questions": (
        "recommend",
        "--task scenes --budget 0.2 --pruner divprune --pruner uniform --limit 200",
    ),
    "whether a codebook may pay": ("info", "demo --images photos"),
    "a codebook of 20 pictures": ("codebook build", "photos --out book --min-images 0"),
}


def main() -> None:
    """Run every command once, in a folder of its own, and write results and table."""
    with TemporaryDirectory() as folder:
        save_scenes(Path(folder) / "photos", 20)
        seconds = {job: _seconds(f"{name} {options}", folder) for job, (name, options) in JOBS.items()}
    commands = {job: f"wordsight {name} {options}" for job, (name, options) in JOBS.items()}
    record: dict[str, Any] = {
        **machine(),
        "command": "python benchmarks/run_times.py",
        "commands": commands,
        "seconds": seconds,
    }
    with replacing(RESULTS) as draft:
        draft.write_text(json.dumps(record, indent=1).replace(str(PICTURE), "garden.png") + "\n")
    write_between(ROOT / "README.md", "run times", table(seconds))


def _seconds(command: str, folder: str) -> float:
    """Of processor time, of one thread: what else the machine does takes no part in it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-m", "wordsight", *shlex.split(command)]
    subprocess.run(arguments, check=True, cwd=folder, env=one_thread)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)


def table(seconds: dict[str, float]) -> str:
    """The jobs with their commands, as Markdown."""
    rows = [f"| {job} | `{JOBS[job][0]}` | {taken:.0f} s |\n" for job, taken in seconds.items()]
    return "| job | command | time |\n|---|---|---|\n" + "".join(rows)


if __name__ == "__main__":
    main()
