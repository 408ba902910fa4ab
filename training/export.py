"""Stage 3: the trained weights in the standard Hugging Face layout, as package data."""

from __future__ import annotations

from pathlib import Path

import torch

import wordsight.demo
from language import CHECKPOINT
from model import build_model, save
from packing import TOKENIZER

TARGET = Path(wordsight.demo.__file__).parent / "model"


def export() -> None:
    """Write the checkpoint's model in float16, with tokenizer and processor."""
    model = build_model(-(-len(TOKENIZER) // 64) * 64)
    model.load_state_dict(torch.load(CHECKPOINT, weights_only=True)["model"])
    save(model, TARGET)
    size = (TARGET / "model.safetensors").stat().st_size / 2**20
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {size:.1f} MiB in {TARGET}")


if __name__ == "__main__":
    export()
