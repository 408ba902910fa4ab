"""What the 8 bits of the shipped tower cost, beside the tower in float16: tokens and answers of validation
photos. And how long the model takes to be put together and to load.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer
from rich.progress import track
from torch import Tensor

from parts import quantized, write_parts
from photos import Photo, read_photos
from vision import tower
from wheels import language_file, tower_weights
from wordsight import VLM
from wordsight._utils.files import replacing
from wordsight.evaluation.environment import environment
from wordsight.evaluation.statistics import DIFFERENCES, estimate
from wordsight.models import assembly
from wordsight.redundancy.probe import QUESTION

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "photos_tower.json"
MOST_LOST = 0.01  # of the accuracy
LOADS = 5


def main(
    photos: Annotated[Path, typer.Argument(help="the folder that the model was trained with")],
    checkpoint: Annotated[Path, typer.Argument(help="of stage 2")],
    count: Annotated[int, typer.Option(help="validation photos of known things")] = 150,
) -> None:
    """Write benchmarks/results/photos_tower.json."""
    seeing = tower(tower_weights()).state_dict()
    halves = {name: weight.half() for name, weight in seeing.items()}
    shown = [photo for photo in read_photos(photos) if photo.known and photo.split == "validation"][:count]
    with TemporaryDirectory() as folder:
        plain, _ = put_together(checkpoint, Path(folder) / "plain", halves)
        shipped, seconds = put_together(checkpoint, Path(folder) / "shipped", quantized(seeing))
        loading = [timed_load(shipped) for _ in range(LOADS)]
        models = {"float16": load(plain), "8 bits": load(shipped)}
        rows = [compared(photo, models) for photo in track(shown, "photos")]
        measured_on = environment(models["8 bits"])  # reads the folder
    record = summary(rows) | {
        "checkpoint": {"name": checkpoint.name, "steps": torch.load(checkpoint, weights_only=True)["step"]},
        "seconds": {
            "put together, of the processor": seconds,
            "load, of the processor": median(processor for processor, _ in loading),
            "load, by the clock of this shared machine": median(clock for _, clock in loading),
        },
        "environment": {**measured_on, "model": "demo-photos"},
        "command": f"python tower_bits.py PHOTOS {' '.join(sys.argv[2:])}",
    }
    with replacing(RESULTS) as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")


def put_together(checkpoint: Path, folder: Path, seeing: Mapping[str, Tensor]) -> tuple[Path, float]:
    """The folder of the model with this tower, and the processor time of assembling it."""
    parts = folder / "parts"
    parts.mkdir(parents=True)
    write_parts(checkpoint, parts, seeing)
    began = time.process_time()
    assembly.assemble(parts, language_file(), folder / "model", {})
    return folder / "model", time.process_time() - began


def load(folder: Path) -> VLM:
    """The model as `demo-photos` is loaded: in float32."""
    assembly.check_manifest(folder)
    return VLM.from_pretrained(str(folder), dtype=torch.float32)


def timed_load(folder: Path) -> tuple[float, float]:
    """Seconds of the processor and by the clock, with the digests of the folder and of the language model."""
    began = time.process_time(), time.perf_counter()
    assembly.sha256(language_file())
    load(folder)
    return time.process_time() - began[0], time.perf_counter() - began[1]


def compared(photo: Photo, models: Mapping[str, VLM]) -> dict[str, Any]:
    """How far apart the visual tokens are, as a share of how far they are from their mean, and the confidence
    of the first word; and whether the answers are the same, and right.
    """
    prompts = {name: vlm.encode(photo.path, QUESTION) for name, vlm in models.items()}
    one, other = (prompt.visual.embeds.float() for prompt in prompts.values())
    chances = [vlm.logits([prompts[name]])[0].softmax(-1) for name, vlm in models.items()]
    said = {name: vlm.generate([prompts[name]], max_new_tokens=8)[0] for name, vlm in models.items()}
    return {
        "tokens": float((one - other).norm() / (one - one.mean(0)).norm()),
        "confidence": float((chances[0].max() - chances[1].max()).abs()),
        "same_answer": len(set(said.values())) == 1,
        "right": {name: text.strip(" .").lower() == photo.name for name, text in said.items()},
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What all photos come to; answers with 95 % intervals over photos."""
    right = {name: [float(row["right"][name]) for row in rows] for name in rows[0]["right"]}
    change = [after - before for before, after in zip(right["float16"], right["8 bits"], strict=True)]
    found = {
        "question": QUESTION,
        "photos": len(rows),
        "tokens_apart": {
            "median": median(row["tokens"] for row in rows),
            "most": max(row["tokens"] for row in rows),
        },
        "confidence_apart": {
            "median": median(row["confidence"] for row in rows),
            "most": max(row["confidence"] for row in rows),
        },
        "same_answer": estimate([float(row["same_answer"]) for row in rows]),
        "accuracy": {name: estimate(scores) for name, scores in right.items()},
        "change": estimate(change, DIFFERENCES),
        "most_lost": MOST_LOST,
    }
    return found | {"passes": found["change"]["mean"] >= -MOST_LOST}


if __name__ == "__main__":
    typer.run(main)
