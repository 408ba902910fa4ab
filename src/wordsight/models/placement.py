"""Placement: the device that a model runs on, and what is said of it."""

from __future__ import annotations

import torch

from wordsight._utils.notes import tell
from wordsight.errors import ModelError
from wordsight.models.load_options import LoadOptions


def find_device(options: LoadOptions) -> torch.device | None:
    """The device that the options ask for, None where a device_map says it. Raises ModelError if this machine
    does not have it.
    """
    if options.device_map is not None:
        return None
    if options.device == "auto":
        return torch.device(next((kind for kind in ("cuda", "mps") if _count(kind)), "cpu"))
    device = torch.device(options.device)
    if device.type != "cpu" and (device.index or 0) >= _count(device.type):
        raise ModelError(
            f"there is no device {options.device}: this PyTorch ({torch.__version__}) sees "
            f"{_count(device.type) or 'no'} {device.type} device; take cpu, or auto for what there is"
        )
    return device


def tell_device(name: str, options: LoadOptions, device: torch.device | None) -> None:
    """Say which device was chosen, where somebody may not expect it."""
    if options.device == "auto" and device is not None and device.type != "cpu":
        called = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
        tell(f"{name} runs on {called} ({device}); --device cpu keeps it off")


def _count(kind: str) -> int:
    """How many devices of a kind PyTorch can use."""
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    module = getattr(torch, kind)
    return int(module.device_count()) if module.is_available() else 0
