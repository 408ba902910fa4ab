"""lmms-eval: its classes over transformers with a pruned `generate`, and what it measured as our results.

`manifest` is the entry point: `--model wordsight --model_args base=llava_hf,pretrained=...,pruner=...`.
"""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """What lmms-eval is told of the model: where its classes are, for messages and for plain text."""
    from lmms_eval.models.registry_v2 import ModelManifest

    place = f"{__name__}.model"
    return ModelManifest("wordsight", simple_class_path=f"{place}.Simple", chat_class_path=f"{place}.Pruned")
