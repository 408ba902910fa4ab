"""Stage 3: the trained weights in the standard Hugging Face layout, as package data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

import wordsight.demo
from model import build_model, save
from packing import TOKENIZER
from pictures import BUILD

TARGET = Path(wordsight.demo.__file__).parent / "model"


def export(
    seed: Annotated[int, typer.Option(help="of the training run to export")] = 0, target: Path = TARGET
) -> None:
    """Write the model of a training run in float16, with tokenizer and processor."""
    model = build_model(-(-len(TOKENIZER) // 64) * 64)
    model.load_state_dict(torch.load(BUILD / f"language_{seed}.pt", weights_only=True)["model"])
    save(model, target)
    size = (target / "model.safetensors").stat().st_size / 2**20
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {size:.1f} MiB in {target}")


if __name__ == "__main__":
    typer.run(export)
