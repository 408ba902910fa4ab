"""Run every experiment on both embedded models again, one after another, each in a process of its own.

What is finished is marked in build/everything; without that folder all begins anew. A stopped run goes on
with the experiment that it was in, and most of those go on within. Others have a target of their own, since
they need a GPU, a server, other packages or what training left: `make gpu`, `load`, `families`, `paper` and
`photo-gates`; cluster.py, openvino_cdpruner.py, quick.py (recipes_*.json) and training/photos/tower_bits.py
are run by hand, and photos_training_gpu.json is what training said.
"""

from __future__ import annotations

import json
import os
import resource
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from wordsight._utils.files import replacing
from wordsight._utils.progress import track
from wordsight.evaluation.environment import machine

ROOT = Path(__file__).parents[1]
MARKS, HOURS = ROOT / "build" / "everything", ROOT / "benchmarks" / "results" / "hours.json"
# Of training, only what is of photos: both have a recipes.py, and a script finds those beside it by itself.
ROOMS = [ROOT / "benchmarks", ROOT / "training" / "photos", ROOT / "src"]
SEEDS = "benchmarks/models"
SCENES = json.loads((ROOT / "benchmarks" / "verdicts" / "scenes.json").read_text())["models"]
VERDICTS = {
    f"verdict of scenes, {split}": [f"benchmarks/verdict.py scenes {name} --split {split}" for name in SCENES]
    for split in ("validation", "test")
}
OF_SCENES = {
    "codebook_choice": ["benchmarks/choose_codebook.py build/evidence/demo"],
    "neighbors": ["benchmarks/neighbors.py build/evidence/demo"],
    "causes": ["benchmarks/causes.py build/evidence/demo-validation"],
    "locality": ["training/locality.py --out benchmarks/results/locality.json"],
    "gates": ["benchmarks/gates.py", "training/card.py"],
    **{
        name: [f"benchmarks/run.py {name}"]
        for name in ("ours_on_validation", "pruners", "published", "times", "untrained")
    },
    "seeds": ["benchmarks/seeds.py build/seeds"],
    "pruned training": ["benchmarks/pruned_training.py build/pruned_training"],
    "beyond_codebook": ["benchmarks/beyond_codebook.py build/evidence/beyond"],
    "noise_floor": [f"benchmarks/noise_floor.py demo {SEEDS}/whole-0 {SEEDS}/whole-2"],
    **VERDICTS,
    "intermediate": ["benchmarks/intermediate.py build/evidence"],
    "coverage": ["benchmarks/coverage.py"],
    "clustering": ["benchmarks/clustering.py"],
    "selection_cost": ["benchmarks/selection_cost.py"],
    "device_operations": ["benchmarks/device_operations.py"],
    "engine": ["benchmarks/engine.py"],
    "compare_speed": ["benchmarks/compare_speed.py"],
    "films": ["benchmarks/films.py"],
    "scale": ["benchmarks/scale.py"],
    "run_times": ["benchmarks/run_times.py"],
}
OF_PHOTOS = {
    "verdict of photos": [
        f"benchmarks/verdict.py photos e-0 --pictures {{photos}} --split {split}"
        for split in ("validation", "test")
    ],
    "domain": ["benchmarks/domain.py --photos {photos} --unseen {unseen} --scenes 600 --every 12"],
    "noise_floor of photos": ["benchmarks/noise_floor.py demo-photos --images {photos}"],
}
TABLES = {"tables": ["benchmarks/pool.py"]}


def main(
    photos: Annotated[
        Path | None, typer.Option(help="what demo-photos was trained with; its experiments are left out")
    ] = None,
    unseen: Annotated[Path | None, typer.Option(help="photos that it was not trained with")] = None,
    only: Annotated[list[str] | None, typer.Option(help="an experiment; again for more of them")] = None,
) -> None:
    """Write all of benchmarks/results that this machine can measure, and the hours of processor time."""
    if (photos is None) != (unseen is None):
        raise typer.BadParameter("--photos and --unseen belong together: both are folders of photos")
    experiments = {**OF_SCENES, **(OF_PHOTOS if photos else {}), **TABLES}
    if unknown := set(only or ()) - experiments.keys():
        raise typer.BadParameter(f"expected some of {', '.join(experiments)}, got {unknown.pop()}")
    wanted = [name for name in experiments if not only or name in only]
    MARKS.mkdir(parents=True, exist_ok=True)
    for name in track(wanted, "experiments", len(wanted)):
        mark = MARKS / name
        if name in TABLES or not mark.exists():
            commands = [command.format(photos=photos, unseen=unseen) for command in experiments[name]]
            note(name, sum(map(run, commands)))
            mark.touch()


def run(command: str) -> float:
    """The hours of processor time that it took, all its threads together. Raises if it fails."""
    paths = os.pathsep.join(map(str, ROOMS))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *shlex.split(command)],
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 3600


def note(name: str, hours: float) -> None:
    """Keep the hours of an experiment that ran to its end, less what it had kept from a stopped run."""
    record = json.loads(HOURS.read_text()) if HOURS.exists() else {"hours": {}}
    record = {"hours": {**record["hours"], name: round(hours, 3)}, "environment": {**machine(), "threads": 1}}
    with replacing(HOURS) as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
