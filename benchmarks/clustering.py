"""What clustering takes of many tokens: time of one thread and memory, of a process of its own for each size.

The points are made up: WIDTH numbers around 1,000 centers. The sizes are the most that a codebook clusters
over all pictures, and four times that.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from wordsight._utils.files import replacing
from wordsight.algorithms.clustering import dpc_knn
from wordsight.evaluation.environment import machine
from wordsight.redundancy.build import POOL, Clustering

RESULTS = Path(__file__).parent / "results" / "clustering.json"
SIZES, WIDTH, CENTERS = (POOL, 4 * POOL), 256, 1_000


def main() -> None:
    """Write results/clustering.json."""
    torch.set_num_threads(1)
    record: dict[str, Any] = {"width": WIDTH, "sizes": [_apart(size) for size in SIZES]}
    record |= {"command": "python benchmarks/clustering.py", "machine": machine()}
    with replacing(RESULTS) as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")


def _apart(points: int) -> dict[str, float]:
    command = [sys.executable, __file__, str(points)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    print(found, flush=True)
    return found


def measure(points: int) -> dict[str, float]:
    """What clustering so many points takes in this process, and how long others let it wait."""
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(0)
    x = torch.randn(CENTERS, WIDTH, generator=random)[torch.randint(CENTERS, (points,), generator=random)]
    x += torch.randn(points, WIDTH, generator=random) / 2
    before, began, spent = _peak(), time.perf_counter(), time.process_time()
    dpc_knn(x, Clustering().clusters)
    return {
        "points": points,
        "seconds_of_the_thread": time.process_time() - spent,
        "seconds": time.perf_counter() - began,
        "peak_gigabytes_before": before,
        "peak_gigabytes": _peak(),
        "load": os.getloadavg()[0],
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(measure(int(sys.argv[1]))))
    else:
        main()
