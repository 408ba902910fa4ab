"""What building a codebook takes of evidence of very many pictures: time and memory, of a process of its own.

The evidence is made up: 576 tokens a picture of 64 numbers in bfloat16, whose values are drawn once for a
shard of 64 pictures and shifted for every other, in the files that `collect_evidence` would write. The
codebook is the default one, of the tokens below the .7 quantile.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from wordsight import Clustering, Evidence, build_codebook
from wordsight._utils.artifacts import tensors_digest
from wordsight._utils.files import replacing
from wordsight._utils.progress import track
from wordsight.evaluation.environment import machine
from wordsight.redundancy.criteria import DEFAULT
from wordsight.redundancy.evidence_files import (
    FORMAT,
    MANIFEST,
    MANIFESTS,
    EvidenceManifest,
    Shard,
    digest_of_names,
    shards_of,
    span,
)
from wordsight.redundancy.measured_with import versions
from wordsight.redundancy.probe import QUESTIONS

RESULTS = Path(__file__).parent / "results" / "scale.json"
TOKENS, WIDTH, SHARD = 576, 64, 64


def main(
    pictures: Annotated[int, typer.Option(help="of which there is evidence")] = 100_000,
    folder: Annotated[
        Path | None, typer.Option(help="where 13 GB have room; a temporary one by default")
    ] = None,
) -> None:
    """Write the evidence, build the codebook in another process, and write down what that took."""
    with TemporaryDirectory(dir=folder) as place:
        started = time.monotonic()
        write_evidence(Path(place), pictures)
        written = time.monotonic() - started
        size = sum(path.stat().st_size for path in Path(place).rglob("*.safetensors"))
        command = [sys.executable, __file__, "--build", place]
        built = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    record: dict[str, Any] = {"pictures": pictures, "tokens": TOKENS * pictures, "width": WIDTH}
    record |= {"gigabytes": size / 1e9, "seconds_to_write": written, **built, "machine": machine()}
    with replacing(RESULTS) as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


def write_evidence(root: Path, pictures: int) -> None:
    """Evidence of the default criterion, made up."""
    names = [f"{number:06}.png" for number in range(pictures)]
    manifest: EvidenceManifest = {
        "format": FORMAT,
        "model": "made-up",
        "fingerprint": "f00d",
        "parts": None,
        "questions": list(QUESTIONS),
        "measured_with": {
            "dtype": "torch.bfloat16",
            "device": "cpu",
            "threads": 1,
            "attention": "sdpa",
            "pass_tokens": 4096,
            "versions": versions(),
        },
        "pictures": pictures,
        "names_sha256": digest_of_names(names),
        "shard_pictures": SHARD,
        "clusters": Clustering().of_a_picture,
        "survivors": None,
    }
    (root / MANIFEST).write_text(MANIFESTS.text(manifest), "utf-8")
    columns = made_up()
    for name in DEFAULT.needs(QUESTIONS):
        shards = shards_of(root, manifest, name)
        for shard in track(shards, f"writing {name}", len(shards)):
            write_shard(shard, names, columns[name])


def made_up() -> dict[str, dict[str, Tensor]]:
    """The columns of a shard."""
    random, rows = torch.Generator().manual_seed(0), TOKENS * SHARD
    return {
        "tokens": {
            "embeds": torch.randn(rows, WIDTH, generator=random).bfloat16(),
            "cell": torch.zeros(rows, 4, dtype=torch.long),
            "cluster_size": torch.randint(1, 200, (rows,), generator=random, dtype=torch.int32),
            "kept": torch.ones(rows, dtype=torch.bool),
        },
        "probe-0": {
            "words": torch.randint(32_000, (rows, 5), generator=random),
            "word_probabilities": torch.rand(rows, 5, generator=random),
            **{
                name: torch.rand(rows, generator=random)
                for name in ("confidence", "certainty", "blind_divergence")
            },
        },
    }


def write_shard(shard: Shard, names: list[str], columns: dict[str, Tensor]) -> None:
    """The columns, turned by another number of rows in every shard."""
    numbers = span(shard.manifest, shard.number)
    rows = TOKENS * len(numbers)
    own = {name: column.roll(shard.number * 131, 0)[:rows].contiguous() for name, column in columns.items()}
    digest = tensors_digest({"number": torch.tensor(shard.number)})
    shard.write([{"name": names[i], "sha256": digest, "tokens": TOKENS} for i in numbers], {}, own)


def build(folder: Path) -> dict[str, Any]:
    """What building the default codebook takes in this process."""
    started = time.monotonic()
    book = build_codebook(Evidence.load(folder, DEFAULT.needs(QUESTIONS)))
    return {
        "seconds_to_build": time.monotonic() - started,
        "peak_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "counts": book.config["counts"],
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--build"]:
        print(json.dumps(build(Path(sys.argv[2]))))
    else:
        typer.run(main)
