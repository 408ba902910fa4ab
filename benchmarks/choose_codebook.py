"""The embedded model's codebook: evidence on training pictures, criterion chosen on the validation split.

The best book ships whether it pays or not: the record says which. Also writes its control, a book of as many
RANDOM tokens of the same pictures, and the embedded model's scorer, fitted on the same evidence.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from wordsight import VLM, Clustering, demo, fit_scorer
from wordsight._utils.files import replacing
from wordsight.evaluation.calibration import calibrate
from wordsight.redundancy.build import random_codebook
from wordsight.redundancy.collecting import collect_evidence
from wordsight.reports.calibration import calibration_tables
from wordsight.synthetic.scenes import save_scenes
from wordsight.tasks.scenes import Scenes

HERE = Path(__file__).parent
CLUSTERING = Clustering(largest=12, images=8)
PICTURES = 320  # training scenes


def choose(
    evidence_folder: Annotated[Path, typer.Argument(help="where the evidence is, or is to be collected")],
    pictures: Annotated[int, typer.Option(help="training scenes to examine")] = PICTURES,
    questions: Annotated[int, typer.Option(help="validation questions: half choose, half test")] = 600,
) -> None:
    """Write both books, the scorer and the record of the calibration."""
    vlm = VLM.from_pretrained()
    task = Scenes(split="validation")
    with TemporaryDirectory() as folder:
        scenes = save_scenes(folder, pictures)
        evidence = collect_evidence(vlm, scenes, evidence_folder)
        calibration = calibrate(vlm, evidence, task, questions=questions, clustering=CLUSTERING)
        calibration.book.with_origins(vlm, scenes).save_pretrained(demo.CODEBOOK)
    random_codebook(evidence, len(calibration.book.prototypes)).save_pretrained(HERE / "control-codebook")
    fit_scorer(evidence).save_pretrained(demo.SCORER)
    record = {**calibration.record, "clustering": asdict(CLUSTERING), "pictures": pictures}
    with replacing(HERE / "results" / "codebook_choice.json") as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")
    Console().print(*calibration_tables(calibration.record), sep="\n")


if __name__ == "__main__":
    typer.run(choose)
