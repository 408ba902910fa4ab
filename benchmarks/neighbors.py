"""Does a scorer tell more of a token if it reads its neighbors, too? On pictures that did not fit it.

Scorers are fitted as those that ship, to what the evidence of the book that ships says of every token: what
it says alone, to one question and to all, and how the words change when it is left out of its neighborhood,
and this out of the picture. They read a token, the mean of the others in its 3x3 neighborhood, or both.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from torch import Tensor

from choose_codebook import PICTURES
from pages import PAGE, write_between
from wordsight import Evidence, fit_scorer
from wordsight._utils.files import replacing
from wordsight._utils.progress import track
from wordsight.algorithms.ranking import correlation
from wordsight.evaluation.environment import machine
from wordsight.redundancy.ablation import neighborhoods
from wordsight.reports.formats import markdown
from wordsight.reports.tables import Table

RESULT = Path(__file__).parent / "results" / "neighbors.json"
FITTING = 240  # pictures; the others test
TARGETS = {
    "alone, to the paper's question": "blind_divergence",
    "alone, the most of three questions": "questions_divergence",
    "left out of its neighborhood": "regional/jensen_shannon",
    "its neighborhood left out of the picture": "global/jensen_shannon",
}
INPUTS = ("the token", "its neighbors", "both")


def measure(folder: Annotated[Path, typer.Argument(help="the evidence of choose_codebook.py")]) -> None:
    """Write results/neighbors.json and its table in docs/results.md."""
    evidence = Evidence.load(folder)
    embeds = evidence.embeds[:].float()
    around = mean_around(embeds, evidence.image, evidence.cell[:])
    inputs = dict(zip(INPUTS, (embeds, around, torch.cat([embeds, around], 1)), strict=True))
    fits = evidence.image < FITTING
    found = {
        target: {
            name: told(evidence, inputs[name], evidence.signals[signal][:].float(), fits) for name in INPUTS
        }
        for target, signal in track(TARGETS.items(), "scorers", len(TARGETS))
    }
    record = {
        "command": f"python benchmarks/neighbors.py {folder}",
        "fitted_on": FITTING,
        "tested_on": PICTURES - FITTING,
        "found": found,
        "environment": machine(),
    }
    with replacing(RESULT) as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")
    write_between(PAGE, "neighbors", markdown(table(found)))


def mean_around(embeds: Tensor, image: Tensor, cell: Tensor) -> Tensor:
    """(T, D) of every token the mean of the others in its neighborhood."""
    grid = cell[image == image[0]]
    repeated = grid[:, 1:].repeat(len(cell) // len(grid), 1)
    assert torch.equal(cell[:, 1:], repeated), "every scene is one grid of the same size"
    pictures, near = embeds.reshape(-1, len(grid), embeds.shape[1]), neighborhoods(grid)
    others: Tensor = (pictures[:, near].sum(2) - pictures) / (near.shape[1] - 1)
    return others.flatten(0, 1)


def told(evidence: Evidence, inputs: Tensor, target: Tensor, fits: Tensor) -> dict[str, float]:
    """What a scorer of these inputs tells of the target on the pictures that did not fit it: the share of its
    variance, and the rank correlation.
    """
    rows = fits.nonzero()[:, 0]
    fitting = replace(
        evidence, embeds=inputs[rows], signals={"blind_divergence": target[rows]}, image=evidence.image[rows]
    )
    said, true = fit_scorer(fitting).predict(inputs[~fits]), target[~fits]
    left = F.mse_loss(said, true) / F.mse_loss(target[fits].mean().expand_as(true), true)
    rho = correlation(said, true)
    assert rho is not None, "neither is constant"
    return {"variance": float(1 - left), "rank_correlation": rho}


def table(found: dict[str, dict[str, dict[str, Any]]]) -> Table:
    """A row for every target: the share of the variance and, in brackets, the rank correlation."""
    body = [
        (target, *(f"{of['variance']:.2f} ({of['rank_correlation']:.2f})" for of in by_input.values()))
        for target, by_input in found.items()
    ]
    return Table("Neighbors", ("what is told", *INPUTS), body)


if __name__ == "__main__":
    typer.run(measure)
