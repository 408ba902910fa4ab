"""The loop of every stage: so many minutes of processor time, or steps, saved often, gone on from where it
stopped.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wordsight._utils.files import replacing

SAVE_EVERY = 30  # seconds
PRINT_EVERY = 20  # steps
WARMUP = 30  # steps
LEAST = 0.03  # share of the rate that is left at the end
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Together:
    """Several optimizers, each of its own weights, used as one."""

    def __init__(self, *steppers: torch.optim.Optimizer) -> None:
        self.steppers = steppers

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of all, in order."""
        return list(chain.from_iterable(stepper.param_groups for stepper in self.steppers))

    def step(self) -> None:
        for stepper in self.steppers:
            stepper.step()

    def zero_grad(self) -> None:
        for stepper in self.steppers:
            stepper.zero_grad()

    def state_dict(self) -> list[dict[str, Any]]:
        return [stepper.state_dict() for stepper in self.steppers]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for stepper, state in zip(self.steppers, states, strict=True):
            stepper.load_state_dict(state)


@dataclass
class Schedule:
    """Trains what is in `stepper`, keeping `trained` in the checkpoint.

    Minutes are of processor time, all threads together: they count the same work on a machine that is also
    used for something else. `made_of` is what a checkpoint belongs to: training does not go on from one that
    was made of anything else.
    """

    checkpoint: Path
    trained: nn.Module
    stepper: torch.optim.Optimizer | Together
    made_of: dict[str, Any]

    def run(
        self, loss_of: Callable[[int, float], Tensor], *, steps: int | None = None, minutes: float = 0.0
    ) -> None:
        """Make so many steps, whatever they take, or step until the minutes are used up. `loss_of` gets the
        number of the step, to draw by, and the share of the steps, or of the minutes, that is used.
        """
        if DEVICE.type == "cuda":
            torch.set_float32_matmul_precision("high")  # products in TF32
        step, spent = self._resume()
        began = time.process_time() - spent
        rates = [group["initial_lr"] for group in self.stepper.param_groups]
        weights = [weight for group in self.stepper.param_groups for weight in group["params"]]
        # Losses are read only where they are printed: a GPU is not waited for at every step.
        losses: deque[Tensor] = deque(maxlen=100)
        saved = time.monotonic()
        while True:
            used = time.process_time() - began
            done = step / steps if steps else used / (minutes * 60)
            if done >= 1:
                break
            for group, rate in zip(self.stepper.param_groups, rates, strict=True):
                group["lr"] = rate * rate_share(step, done)
            loss = loss_of(step, done)
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            self.stepper.step()
            self.stepper.zero_grad()
            losses.append(loss.detach())
            step += 1
            if step % PRINT_EVERY == 0:
                mean = torch.stack([*losses]).mean().item()
                print(
                    f"{self.checkpoint.stem} step {step}, {used / 60:.1f} minutes, loss {mean:.3f}",
                    flush=True,
                )
            if time.monotonic() - saved >= SAVE_EVERY:
                self._save(step, time.process_time() - began)
                saved = time.monotonic()
        self._save(step, time.process_time() - began)

    def _resume(self) -> tuple[int, float]:
        for group in self.stepper.param_groups:
            group.setdefault("initial_lr", group["lr"])
        if not self.checkpoint.exists():
            return 0, 0.0
        saved = load(self.checkpoint, self.made_of)
        self.trained.load_state_dict(saved["trained"])
        self.stepper.load_state_dict(saved["stepper"])
        return saved["step"], saved["spent"]

    def _save(self, step: int, spent: float) -> None:
        state = {"trained": self.trained.state_dict(), "stepper": self.stepper.state_dict()}
        with replacing(self.checkpoint) as draft:
            torch.save(state | {"step": step, "spent": spent, "made_of": self.made_of}, draft)


def rate_share(step: int, done: float) -> float:
    """What share of the rate a step gets: a short warmup, then half a cosine."""
    return min(1.0, (step + 1) / WARMUP) * max(LEAST, (1 + math.cos(math.pi * min(1.0, done))) / 2)


def load(checkpoint: Path, made_of: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint; stops with a sentence if it was made of anything else, such as other names."""
    saved: dict[str, Any] = torch.load(checkpoint, weights_only=True, map_location="cpu")
    if other := [key for key, value in made_of.items() if saved["made_of"].get(key) != value]:
        raise SystemExit(
            f"{checkpoint} was trained with another {' and '.join(other)}; use what it was trained with, or "
            "delete it"
        )
    return saved


def digest(module: nn.Module) -> str:
    """Which weights these are."""
    found = hashlib.sha256()
    for name, weights in sorted(module.state_dict().items()):
        found.update(name.encode())
        found.update(weights.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:12]
