"""Loading a checkpoint: its model and its processor, whole or not at all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText, AutoProcessor

from wordsight import demo
from wordsight.errors import ModelError

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def load(name: str, dtype: str | torch.dtype, device_map: Any) -> tuple[Any, Any]:
    """The model and the processor of a name, see `VLM.from_pretrained`."""
    source: str | Path = demo.MODEL if name == "demo" else name
    precision = torch.float32 if name == "demo" and dtype == "auto" else dtype
    placement = {} if device_map is None else {"device_map": device_map}
    if not Path(source).exists() and not HUB_NAME.fullmatch(name):  # the hub's client would ask for minutes
        raise ModelError(
            f"no model {name!r}: there is no such folder, and a hub name has an owner, as owner/name"
        )
    try:
        processor = AutoProcessor.from_pretrained(source)
        model, report = AutoModelForImageTextToText.from_pretrained(
            source, dtype=precision, output_loading_info=True, **placement
        )
    except ImportError as error:
        raise ModelError(f"cannot load model {name!r}: {_first_line(error)}") from error
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(
            f"cannot load model {name!r}: {_first_line(error)}; expected a Hugging Face folder or hub name "
            "of an image-text-to-text model"
        ) from error
    if missing := report["missing_keys"]:
        raise ModelError(
            f"cannot load model {name!r}: {len(missing)} of its weights are in none of its files, as "
            f"{sorted(missing)[0]}; a file of the checkpoint is missing"
        )
    return model, processor


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
