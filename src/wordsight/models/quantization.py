"""Quantization while a checkpoint is loaded: its language model in 8 or 4 bits, and nothing else of it, so
that visual tokens stay what they are.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig, TorchAoConfig

from wordsight.errors import ModelError
from wordsight.models.families.base import inner_model
from wordsight.models.load_options import Quantization

PACKAGES = {"bnb": "bitsandbytes", "torchao": "torchao"}


def check_quantization(kind: Quantization | None) -> None:
    """Raises ModelError, which names the package, if one that it takes is not installed."""
    if kind is None:
        return
    package = PACKAGES[kind.partition("-")[0]]
    if missing := [name for name in (package, "accelerate") if find_spec(name) is None]:
        raise ModelError(
            f"quantization {kind} needs {' and '.join(missing)}; `pip install 'wordsight[quantization]'`"
        )


def quantization_config(kind: Quantization, config: Any) -> Any:
    """What transformers takes for it, for a checkpoint of this config."""
    if getattr(config, "quantization_config", None):
        raise ModelError(
            f"its weights are quantized already, so that they cannot become {kind}; leave it out"
        )
    whole = _left_whole(config)
    if kind == "bnb-8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=whole)
    if kind == "bnb-4bit":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.bfloat16,
            llm_int8_skip_modules=whole,
        )
    from torchao.quantization import Int8WeightOnlyConfig

    return TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=whole)


def _left_whole(config: Any) -> list[str]:
    """The modules that are not quantized: all beside the language model, and its head."""
    with torch.device("meta"):
        skeleton = AutoModelForImageTextToText.from_config(config)
    decoder, inner = skeleton.get_decoder(), inner_model(skeleton)
    names = {id(module): name for name, module in skeleton.named_modules()}
    beside = [module for module in inner.children() if decoder not in module.modules()]
    return [names[id(module)] for module in (*beside, skeleton.get_output_embeddings()) if module is not None]
