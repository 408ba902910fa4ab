"""What the last digits of a measurement depend on: runs that differ in it are never mixed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import torch
from typing_extensions import NotRequired, TypedDict

from wordsight.models.load_options import LoadRecord

if TYPE_CHECKING:
    from wordsight.models.vlm import VLM


class MeasuredWith(TypedDict):
    """What the last digits of a measurement depend on, beside the model."""

    dtype: str
    device: Annotated[str, "the name of the GPU, or cpu"]
    threads: Annotated[int | None, "of PyTorch; null on a GPU, where they do not matter"]
    attention: Annotated[str, "how the model computes it"]
    pass_tokens: Annotated[int, "of the prompts that are read at a time"]
    pass_bytes: NotRequired[Annotated[int, "that they take, about"]]
    options: NotRequired[Annotated[LoadRecord, "how the model was loaded, and what it was given"]]
    versions: dict[str, str]


def measured_with(vlm: VLM) -> MeasuredWith:
    """What the model would be measured with now."""
    device = device_name(vlm)
    return {
        "dtype": str(vlm.model.dtype),
        "device": device,
        "threads": torch.get_num_threads() if device == "cpu" else None,
        "attention": str(vlm.model.config._attn_implementation),
        "pass_tokens": vlm.pass_tokens,
        "pass_bytes": vlm.pass_bytes,
        "options": vlm.options.as_json(),
        "versions": versions(),
    }


def device_name(vlm: VLM) -> str:
    """What the model runs on."""
    device = vlm.model.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device.type)


def versions() -> dict[str, str]:
    """Of the packages that decide the numbers."""
    return {name: version(name) for name in ("wordsight", "torch", "transformers")}


@contextmanager
def on_threads(count: int | None) -> Iterator[None]:
    """PyTorch adds up on so many threads meanwhile; None leaves them as they are."""
    before = torch.get_num_threads()
    if count in (None, before):
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
