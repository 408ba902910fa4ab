"""The loop of every stage: a schedule in minutes, and checkpoints that only their own run goes on from."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model import optimizers
from wordsight._utils.files import replacing

WARMUP = 100  # steps
SAVE_EVERY = 250  # steps


@dataclass
class Fit:
    """Trains `trained` (some of the modules in `parts`), keeping all of `parts` in the checkpoint.

    `made_of` is what a checkpoint belongs to, such as a config or a vocabulary: training does not go on from
    one that was made of anything else, because it would load without an error and mean nothing.
    """

    checkpoint: Path
    parts: dict[str, nn.Module]
    trained: list[nn.Module]
    rate: float
    made_of: dict[str, Any]

    def run(
        self,
        minutes: float,
        loss_of: Callable[[np.random.Generator, float], Tensor],
        *,
        seed: int,
        validate: Callable[[], Any],
    ) -> None:
        """Step until the schedule of so many minutes is over, from the last checkpoint if there is one.

        `loss_of` gets a generator of its own for every step, and the share of the schedule that is done.
        """
        steppers = optimizers(self.trained, rate=self.rate)
        step, spent = self._resume(steppers)
        began, history = time.monotonic() - spent, []
        weights = [p for module in self.trained for p in module.parameters() if p.requires_grad]
        while (elapsed := time.monotonic() - began) < minutes * 60:
            done = elapsed / (minutes * 60)
            loss = loss_of(np.random.default_rng([seed, step]), done)
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            self._step(steppers, self.rate * min(1, (step + 1) / WARMUP) * max(0.03, 1 - done))
            history.append(loss.item())
            step += 1
            if step % 100 == 0:
                print(f"step {step} {elapsed:.0f} s loss {np.mean(history[-100:]):.3f}", flush=True)
            if step % SAVE_EVERY == 0:
                self._save(steppers, step, time.monotonic() - began)
                print("validation", validate(), flush=True)
        self._save(steppers, step, time.monotonic() - began)

    def _resume(self, steppers: list[torch.optim.Optimizer]) -> tuple[int, float]:
        if not self.checkpoint.exists():
            return 0, 0.0
        saved = load(self.checkpoint, self.made_of)
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])
        for stepper, state in zip(steppers, saved["steppers"], strict=True):
            stepper.load_state_dict(state)
        return saved["step"], saved["spent"]

    def _step(self, steppers: list[torch.optim.Optimizer], rate: float) -> None:
        for stepper in steppers:
            for group in stepper.param_groups:
                group["lr"] = rate
            stepper.step()
            stepper.zero_grad()

    def _save(self, steppers: list[torch.optim.Optimizer], step: int, spent: float) -> None:
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"steppers": [stepper.state_dict() for stepper in steppers], "step": step, "spent": spent}
        with replacing(self.checkpoint) as draft:
            torch.save(state | {"made_of": self.made_of}, draft)


def load(checkpoint: Path, made_of: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint; stops with a sentence if it belongs to another config, vocabulary or tower."""
    saved: dict[str, Any] = torch.load(checkpoint, weights_only=True, map_location="cpu")
    if other := [key for key, value in made_of.items() if saved["made_of"].get(key) != value]:
        raise SystemExit(
            f"{checkpoint} was trained with another {' and '.join(other)}; use the code and the files it was "
            "trained with, or delete it"
        )
    return saved


def digest(module: nn.Module) -> str:
    """Which weights these are."""
    found = hashlib.sha256()
    for name, weights in sorted(module.state_dict().items()):
        found.update(name.encode())
        found.update(weights.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:12]
