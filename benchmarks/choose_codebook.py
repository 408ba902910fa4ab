"""The embedded model's codebook: evidence on training pictures, thresholds chosen on the validation split.

Also builds the control: a book of as many RANDOM tokens of the same pictures. A codebook that does not beat
it has learned what is common, not what is redundant.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer

from wordsight import (
    VLM,
    Clustering,
    Codebook,
    CodebookPruner,
    Condition,
    Quantile,
    UsageError,
    compare,
)
from wordsight.atomic import replacing
from wordsight.demo.scenes import save_scenes
from wordsight.evaluate import environment
from wordsight.evidence import collect
from wordsight.pruners.random import Random
from wordsight.tasks.scenes import Scenes

HERE = Path(__file__).parent
DEMO_BOOK = HERE.parent / "src" / "wordsight" / "demo" / "codebook"
KEEPS = (0.2, 0.1, 0.05)
CONFIDENCE, DIVERGENCE = (0.3, 0.5, 0.7), (0.3, 0.5, 0.7)
LARGEST, IMAGES = (12, 144), (8,)


def choose(
    evidence_folder: Annotated[Path, typer.Argument(help="where the evidence is, or is to be collected")],
    pictures: Annotated[int, typer.Option(help="training scenes to examine")] = 240,
    questions: Annotated[int, typer.Option(help="validation questions to score a candidate on")] = 300,
) -> None:
    """Build every candidate, keep the one with the best mean validation accuracy, write both books and the
    record.
    """
    vlm = VLM.from_pretrained()
    with TemporaryDirectory() as folder:
        evidence = collect(vlm, save_scenes(folder, pictures), evidence_folder)
    books: dict[str, tuple[Codebook, Condition, Clustering]] = {}
    for confidence, divergence, largest, images in product(CONFIDENCE, DIVERGENCE, LARGEST, IMAGES):
        condition = Condition(confidence=Quantile(confidence), divergence=Quantile(divergence))
        clustering = Clustering(largest=largest, images=images)
        try:
            book = Codebook.build(evidence, condition, clustering)
        except UsageError as error:
            print(f"q{confidence} q{divergence} {largest} {images}: {error}")
            continue
        books[f"confidence q{confidence}, divergence q{divergence}, largest {largest}, images {images}"] = (
            book,
            condition,
            clustering,
        )
    found = {name: _validation(vlm, book, questions) for name, (book, _, _) in books.items()}
    best = max(found, key=lambda name: float(np.mean(list(found[name].values()))))
    book, condition, clustering = books[best]
    book.save_pretrained(DEMO_BOOK)
    control = Codebook.random(evidence, len(book.prototypes))
    control.save_pretrained(HERE / "control-codebook")
    reference = compare(
        vlm, [Scenes(split="validation")], [Random(keep=keep) for keep in KEEPS], limit=questions
    )
    record = {
        "chosen": best,
        "clustering": asdict(clustering),
        "prototypes": len(book.prototypes),
        "validation_accuracy": found,
        "control_validation_accuracy": _validation(vlm, control, questions),
        "random_validation_accuracy": {str(row["keep"]): row["accuracy"] for row in reference.rows[1:]},
        "questions": questions,
        "environment": environment(vlm),
    }
    with replacing(HERE / "results" / "codebook_choice.json") as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")
    print(best, found[best])


def _validation(vlm: VLM, book: Codebook, questions: int) -> dict[str, float]:
    pruners = [CodebookPruner(codebook=book, keep=keep) for keep in KEEPS]
    rows = compare(vlm, [Scenes(split="validation")], pruners, limit=questions).rows[1:]
    print({row["keep"]: round(row["accuracy"], 3) for row in rows}, len(book.prototypes), flush=True)
    return {str(row["keep"]): row["accuracy"] for row in rows}


if __name__ == "__main__":
    typer.run(choose)
