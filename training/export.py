"""Stage 3: the trained weights in the standard Hugging Face layout, as package data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import wordsight.demo
from fit import load
from language import fit_of
from model import save

TARGET = Path(wordsight.demo.__file__).parent / "model"


def export(
    seed: Annotated[int, typer.Option(help="of the training run to export")] = 0, target: Path = TARGET
) -> None:
    """Write the model of a training run in float16, with tokenizer and processor."""
    fit, model = fit_of(seed)
    model.load_state_dict(load(fit.checkpoint, fit.made_of)["model"])
    save(model, target)
    size = (target / "model.safetensors").stat().st_size / 2**20
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {size:.1f} MiB in {target}")


if __name__ == "__main__":
    typer.run(export)
