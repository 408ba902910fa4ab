"""What a codebook of many pictures takes on a cluster: overheads are measured here, GPUs are computed.

The model is LLaVA-1.5-7B's size, with 576 visual tokens, the criterion one of the first question: each token
is read alone, in a prompt of PROMPT tokens. No GPU was used: seconds are floating-point operations by FLOPS.
"""

from __future__ import annotations

import json
import pickle
import sys
import time
import tracemalloc
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file

from pages import write_between
from wordsight._utils.files import replacing
from wordsight.evaluation.environment import machine
from wordsight.media.sources import open_source
from wordsight.models.vlm import VLM
from wordsight.redundancy.collecting import (
    FEWEST_SHARDS,
    SHARD_BYTES,
    SHARD_PICTURES,
    EvidencePlan,
    collect_evidence,
)
from wordsight.redundancy.criteria import criterion
from wordsight.reports.formats import markdown
from wordsight.reports.tables import Table
from wordsight.synthetic.scenes import save_scenes

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "cluster.md"
PARAMETERS, TOKENS, PROMPT, WIDTH = 6.7e9, 576, 27, 4096
FLOPS = 400e12  # of an H100 in bfloat16: assumed, 40 % of what its data sheet promises
DOLLARS = 2.5  # an hour of it: assumed
LOADING = 60.0  # seconds until a model of 13 GB is on its GPU: assumed
PICTURES, GPUS = (1_000, 100_000, 10_000_000), (1, 8, 64)
EXAMINED, LISTED, JOBS = 3, 20_000, 1_000


def main() -> None:
    """Write results/cluster.json and the tables of docs/cluster.md."""
    measured = {**_examining(), **_listing(), **_writing(), **_ray()}
    runs = [_run(pictures, gpus, measured) for pictures in PICTURES for gpus in GPUS]
    record: dict[str, Any] = {
        "measured": measured,
        "assumed": {"flops": FLOPS, "dollars_an_hour": DOLLARS, "seconds_of_loading": LOADING},
        "computed": runs,
        "command": "python benchmarks/cluster.py",
        "environment": machine(),
    }
    with replacing(HERE / "results" / "cluster.json") as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")
    write_between(PAGE, "cluster", markdown(_table(runs)))


def _examining() -> dict[str, float]:
    """Seconds of a processor for a picture, by the criterion of the first question and the embedded model."""
    vlm, plan = VLM.from_pretrained(), EvidencePlan(condition=criterion("default"))
    with TemporaryDirectory() as folder:
        save_scenes(Path(folder) / "pictures", EXAMINED)
        start = time.process_time()
        collect_evidence(vlm, open_source(Path(folder) / "pictures"), Path(folder) / "evidence", plan)
        return {"processor_seconds_to_examine_a_picture": (time.process_time() - start) / EXAMINED}


def _listing() -> dict[str, float]:
    """Seconds to list a picture of a folder, and bytes to hold and to send it."""
    with TemporaryDirectory() as folder:
        for number in range(LISTED):
            (Path(folder) / f"{number:08d}.jpg").touch()
        start = time.process_time()
        source = open_source(folder)
        seconds = time.process_time() - start
        tracemalloc.start()
        items = list(source)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return {
        "seconds_to_list_a_picture": seconds / LISTED,
        "bytes_to_hold_a_picture": held / LISTED,
        "bytes_to_send_a_picture": len(pickle.dumps(items)) / LISTED,
    }


def _writing() -> dict[str, float]:
    """Seconds to write a shard of the largest size."""
    columns = {"embeds": torch.zeros(SHARD_BYTES // 2 // WIDTH, WIDTH, dtype=torch.bfloat16)}
    with TemporaryDirectory() as folder:
        start = time.process_time()
        with replacing(Path(folder) / "shard.safetensors") as draft:
            save_file(columns, draft)
        return {"seconds_to_write_a_shard": time.process_time() - start}


class Nothing:
    """An actor that does nothing."""

    def do(self, job: int) -> int:
        return job


def _ray() -> dict[str, float]:
    """Seconds until the first job is done, and for each job after it, on two actors of this machine."""
    if find_spec("ray") is None:
        sys.exit("benchmarks/cluster.py needs Ray: pip install 'wordsight[ray]'")
    import ray
    from ray.util import ActorPool

    start = time.perf_counter()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    pool = ActorPool([ray.remote(Nothing).remote() for _ in range(2)])
    outcomes = pool.map_unordered(lambda actor, job: actor.do.remote(job), range(JOBS))
    next(outcomes)
    first = time.perf_counter()
    done = sum(1 for _ in outcomes)
    ended = time.perf_counter()
    ray.shutdown()
    return {"seconds_to_start_ray": first - start, "seconds_of_ray_a_job": (ended - first) / done}


def _run(pictures: int, gpus: int, measured: dict[str, float]) -> dict[str, float]:
    """What so many pictures take on so many GPUs: jobs go out one by one, and are done side by side."""
    picture = 2 * PARAMETERS * TOKENS * PROMPT / FLOPS
    in_bytes = SHARD_BYTES // (2 * TOKENS * WIDTH)
    in_a_shard = max(1, min(SHARD_PICTURES, in_bytes, pictures // FEWEST_SHARDS))
    jobs = ceil(pictures / in_a_shard)
    computing = ceil(jobs / gpus) * (in_a_shard * picture + measured["seconds_to_write_a_shard"])
    handing_out = jobs * measured["seconds_of_ray_a_job"]
    listing = pictures * measured["seconds_to_list_a_picture"]
    starting = measured["seconds_to_start_ray"] + 2 * LOADING  # who prepares the jobs, then every actor
    held = measured["bytes_to_hold_a_picture"] + 2 * measured["bytes_to_send_a_picture"]
    seconds = starting + listing + max(computing, handing_out)
    return {
        "pictures": pictures,
        "gpus": gpus,
        "jobs": jobs,
        "hours": seconds / 3600,
        "dollars": seconds / 3600 * gpus * DOLLARS,
        "share_of_overhead": 1 - pictures * picture / gpus / seconds,
        "terabytes_of_embeddings": pictures * TOKENS * WIDTH * 2 / 1e12,
        "gigabytes_of_a_signal": pictures * TOKENS * 4 / 1e9,
        "gigabytes_of_the_driver": pictures * held / 1e9,
    }


def _table(runs: list[dict[str, float]]) -> Table:
    head = (
        "pictures",
        "GPUs",
        "jobs",
        "hours",
        "dollars",
        "overhead",
        "embeddings",
        "a signal",
        "jobs in memory",
    )
    rows = [
        (
            f"{run['pictures']:,}",
            f"{run['gpus']}",
            f"{run['jobs']:,}",
            f"{run['hours']:,.2f}",
            f"{run['dollars']:,.0f}",
            f"{run['share_of_overhead']:.0%}",
            f"{run['terabytes_of_embeddings']:,.3f} TB",
            f"{run['gigabytes_of_a_signal']:,.3f} GB",
            f"{run['gigabytes_of_the_driver']:,.3f} GB",
        )
        for run in runs
    ]
    return Table("cluster", head, rows)


if __name__ == "__main__":
    main()
