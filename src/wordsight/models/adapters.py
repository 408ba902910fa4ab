"""Adapters of peft: merged into the model when it is loaded, so that its weights are what is read."""

from __future__ import annotations

import json
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from wordsight.errors import ModelError
from wordsight.models.failures import as_model_error
from wordsight.models.load_options import LoadOptions


def check_adapter(options: LoadOptions) -> None:
    """Raises ModelError if peft is not installed, or a folder is no adapter."""
    adapter = options.adapter
    if adapter is None:
        return
    if find_spec("peft") is None:
        raise ModelError("an adapter needs peft; `pip install 'wordsight[adapters]'`")
    if Path(adapter).is_dir() and not (Path(adapter) / "adapter_config.json").is_file():
        raise ModelError(f"{adapter!r} is no adapter: there is no adapter_config.json in it")


def apply_adapter(model: Any, options: LoadOptions) -> Any:
    """The model with the adapter of the options, if there is one.

    It is not merged into weights that are quantized, which would round it away: there it is computed beside
    them.
    """
    if options.adapter is None:
        return model
    from peft import PeftModel

    with as_model_error(f"cannot apply the adapter {options.adapter!r}"), warnings.catch_warnings():
        warnings.filterwarnings("error", "Found missing adapter keys")  # it would adapt nothing
        hub = {name: value for name, value in options.hub.items() if name != "revision" and value is not None}
        adapted = PeftModel.from_pretrained(model, options.adapter, **hub)
        return (
            adapted.get_base_model() if getattr(model, "is_quantized", False) else adapted.merge_and_unload()
        )


def base_of(folder: str) -> str:
    """What the adapter in a folder says that it adapts, "" if it does not."""
    path = Path(folder) / "adapter_config.json"
    return (
        str(json.loads(path.read_text("utf-8")).get("base_model_name_or_path") or "")
        if path.is_file()
        else ""
    )
