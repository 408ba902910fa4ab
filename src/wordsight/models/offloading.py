"""Weights that a device_map has offloaded: where the inputs of such a model go, and how they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def input_device(model: Any) -> torch.device:
    """Where the inputs of the model go: where its first weight is, or is computed with if it is offloaded."""
    device: torch.device = model.device
    if device.type != "meta":
        return device
    hooks = (getattr(module, "_hf_hook", None) for module in model.modules())
    devices = (getattr(hook, "execution_device", None) for hook in hooks)
    return torch.device(next((one for one in devices if one is not None), "cpu"))


def on_device(inputs: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """What a processor returned, on a device."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in inputs.items()}


@contextmanager
def onloaded(module: nn.Module) -> Iterator[None]:
    """While open, all weights of the module are there; those offloaded are on the meta device otherwise."""
    with ExitStack() as stack:
        if any(weight.is_meta for weight in module.parameters()):
            from accelerate.utils import align_module_device  # it has offloaded them

            for part in module.modules():
                stack.enter_context(align_module_device(part))
        yield
