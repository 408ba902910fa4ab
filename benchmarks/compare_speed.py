"""How much faster a comparison is when questions about one picture share what they begin with, and whether it
says the same: both ways in one run, taking turns, in CPU seconds.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from time import process_time
from unittest.mock import patch

import numpy as np
import torch

from wordsight import VLM, compare, pruners, tasks
from wordsight._utils.files import replacing
from wordsight._utils.registry import spec
from wordsight.evaluation.environment import environment
from wordsight.evaluation.results import Results

HERE = Path(__file__).parent
ROUNDS = 5
PICTURES = 6
NAMES, KEEPS = ("codebook", "divprune", "fastv", "random"), (0.5, 0.2)


def measure() -> None:
    """Write results/compare_speed.json: the ratio of every round, its median, and how many answers differ."""
    vlm, task = VLM.from_pretrained(device="cpu"), tasks.make(f"scenes:pictures={PICTURES}")
    methods = [replace(pruners.make(name), keep=keep) for keep in KEEPS for name in NAMES]

    def timed(is_shared: bool) -> tuple[float, Results]:
        with nullcontext() if is_shared else patch.object(VLM, "_shares_answers", False):
            began = process_time()
            results = compare(vlm, [task], methods)
            return process_time() - began, results

    compare(vlm, [task], methods[:1], limit=4)  # unmeasured: the first pass of a shape allocates and plans
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for number in range(ROUNDS):
        found = {}
        for is_shared in (False, True) if number % 2 == 0 else (True, False):
            taken, found[is_shared] = timed(is_shared)
            seconds[is_shared].append(taken)
        print(f"round {number}: {seconds[False][-1]:.1f} s, shared {seconds[True][-1]:.1f} s", flush=True)
    ratios = [whole / shared for whole, shared in zip(seconds[False], seconds[True], strict=True)]
    said = {is_shared: _texts(results) for is_shared, results in found.items()}
    record = {
        "ratios": ratios,
        "median": float(np.median(ratios)),
        "cpu_seconds": {"every question whole": seconds[False], "shared": seconds[True]},
        "rows_are_equal": found[False].rows == found[True].rows,
        "answers": len(said[True]),
        "answers_that_differ": sum(one != other for one, other in zip(*said.values(), strict=True)),
        "questions": len(task.first(None)),
        "pictures": PICTURES,
        "pruners": [f"{spec(method)}, keep {method.keep}" for method in methods],
        "command": "OMP_NUM_THREADS=1 python benchmarks/compare_speed.py",
        "environment": environment(vlm),
    }
    with replacing(HERE / "results" / "compare_speed.json") as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")


def _texts(results: Results) -> list[str]:
    """All that was said, in order."""
    return [
        text
        for task in results.answers
        for answered in task["answered"]
        for seed in answered["texts"]
        for text in seed
    ]


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    measure()
