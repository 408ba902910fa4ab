"""Stage 3: the trained weights in the standard Hugging Face layout, as package data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from language import Name, trained_model
from model import save
from pictures import BUILD


def export(
    recipe: Annotated[Name, typer.Option(help="of the training run to export")] = "whole",
    seed: int = 0,
    target: Annotated[Path | None, typer.Option(help="a folder; by default one in build/models")] = None,
) -> None:
    """Write the model of a training run in float16, with tokenizer and processor."""
    model = trained_model(recipe, seed)
    folder = target or BUILD / "models" / f"{recipe}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    save(model, folder)
    size = (folder / "model.safetensors").stat().st_size / 2**20
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {size:.1f} MiB in {folder}")


if __name__ == "__main__":
    typer.run(export)
