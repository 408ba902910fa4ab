"""The codebook of demo-photos: the one that validation chose, of the evidence that the verdict took."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import torch
import typer

from bench import Bench, Sizes
from subjects import photos
from verdict import CLUSTERINGS, HERE, condition_of, main_evidence
from wordsight import VLM
from wordsight.models.photos import NAME
from wordsight.redundancy.build import build_codebook

BOOK = HERE.parent / "packages" / "wordsight-photos" / "src" / "wordsight_photos" / "codebook"
MODEL = "e-0"  # what the verdict calls it


def build(
    pictures: Annotated[Path, typer.Argument(help="the folder that it was trained with")],
    out: Annotated[Path, typer.Option(help="the folder of the book")] = BOOK,
) -> None:
    """Write it, the same bytes every time; evidence that the verdict did not take yet is taken."""
    chosen = json.loads((HERE / "results" / f"verdict_photos_{MODEL}_validation.json").read_text())["chosen"]
    vlm = VLM.from_pretrained(NAME, dtype=torch.float32)
    bench = Bench(MODEL, vlm, photos(pictures), "test", Sizes())
    book = build_codebook(main_evidence(bench), condition_of(chosen), CLUSTERINGS[chosen["clustered"]])
    book.save_pretrained(out)
    print(f"{out}: {len(book.prototypes)} prototypes, {chosen['plain']}, {chosen['clustered']}")


if __name__ == "__main__":
    typer.run(build)
