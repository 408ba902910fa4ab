"""What a reader needs to know to measure something again: machine, versions, model."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import torch

from wordsight.models.vlm import VLM


def environment(vlm: VLM) -> dict[str, Any]:
    """What a reader needs to know to run it again on one model."""
    return machine() | describe_weights(vlm)


def versions() -> dict[str, str]:
    """Of what decides the answers."""
    return {name: version(name) for name in ("wordsight", "torch", "transformers")}


def machine() -> dict[str, Any]:
    """When and on what something was measured, and with which versions."""
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": versions(),
    }


def describe_weights(vlm: VLM) -> dict[str, Any]:
    """What tells a model from others, and what it runs on."""
    device = vlm.model.device
    return {
        "model": vlm.name,
        "fingerprint": vlm.fingerprint,
        "dtype": str(vlm.model.dtype),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }
