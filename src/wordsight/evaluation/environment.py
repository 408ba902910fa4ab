"""What a reader needs to know to measure something again: machine, versions, model."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from typing import Annotated

import torch
from typing_extensions import NotRequired, TypedDict

from wordsight.models.fingerprints import Parts
from wordsight.models.load_options import LoadRecord
from wordsight.models.vlm import VLM
from wordsight.redundancy.measured_with import device_name, versions


class Machine(TypedDict):
    """When and on what something was measured."""

    date: str
    threads: Annotated[int, "of PyTorch on the CPU"]
    machine: Annotated[str, "the processor's architecture"]
    instructions: NotRequired[
        Annotated[str, "that PyTorch computes by where the record was written, as AVX2"]
    ]
    python: str
    versions: Annotated[dict[str, str], "of the packages that decide the answers"]
    command: NotRequired[Annotated[str, "the command line of the run"]]


class Weights(TypedDict):
    """What tells a model from others, and what it ran on."""

    model: str
    fingerprint: Annotated[str, "of the weights that visual tokens depend on"]
    parts: NotRequired[Annotated[Parts | None, "digests of the rest of the model; null if unknown"]]
    dtype: str
    device: Annotated[str, "the name of the GPU, or cpu"]
    options: NotRequired[Annotated[LoadRecord, "how it was loaded, and what it was given"]]


class Environment(Machine, Weights):
    """What it takes to run something again on one model."""


def environment(vlm: VLM) -> Environment:
    """What a reader needs to know to run it again on one model."""
    return {**machine(), **describe_weights(vlm)}


def machine() -> Machine:
    """When and on what something was measured, and with which versions."""
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "versions": versions(),
    }


def describe_weights(vlm: VLM) -> Weights:
    """What tells a model from others, and what it runs on."""
    return {
        "model": vlm.name,
        "fingerprint": vlm.fingerprint,
        "parts": vlm.parts,
        "dtype": str(vlm.model.dtype),
        "device": device_name(vlm),
        "options": vlm.options.as_json(),
    }
