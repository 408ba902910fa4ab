"""A checkpoint put together out of what was trained here and a language model in a GGUF file.

What was trained is a folder with config, processor and tokenizer as the checkpoint has them, and weights by
the checkpoint's names. `NAME.scale` beside a weight of 8 bits multiplies its rows. The product of the thin
matrices `NAME.lora_b` and `NAME.lora_a` (LoRA, https://arxiv.org/abs/2106.09685) is added to a weight of the
language model.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import torch
from safetensors.torch import save
from torch import Tensor
from typing_extensions import TypedDict

from wordsight._utils.artifacts import Artifact, read_tensors
from wordsight._utils.files import replacing
from wordsight._utils.progress import track
from wordsight.errors import ModelError

CONFIG, TRAINED, WEIGHTS, MANIFEST = (
    "config.json",
    "trained.safetensors",
    "model.safetensors",
    "manifest.json",
)
LANGUAGE = "language_model.model."
EMBEDDINGS = f"{LANGUAGE}embed_tokens.weight"
SCALE, LORA_A, LORA_B = ".scale", ".lora_a", ".lora_b"
LLAMA = {  # llama.cpp's names, and those of transformers
    "token_embd": "embed_tokens",
    "output_norm": "norm",
    "blk": "layers",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


class Manifest(TypedDict):
    """What a folder was made of and what it holds, so that a change of either is found."""

    format: int
    made_of: Annotated[dict[str, Any], "what it comes from"]
    files: Annotated[dict[str, str], "the sha256 of every other file"]


MANIFESTS = Artifact(
    name="the manifest of a model",
    record=Manifest,
    format=1,
    remedy="`pip install --force-reinstall --no-deps wordsight-photos`",
)


def assemble(parts: Path, language: Path, target: Path, made_of: Mapping[str, Any]) -> None:
    """Write the checkpoint, in float16, into a folder that is there whole or not at all.

    Raises FileError if the parts are damaged, ModelError if the language model is not the one they are for.
    """
    check_manifest(parts)
    config = json.loads((parts / CONFIG).read_text("utf-8"))["text_config"]
    trained = read_tensors(parts / TRAINED, MANIFESTS)
    weights = dict(language_weights(language, config))
    if missing := {name.removesuffix(LORA_A) for name in trained if name.endswith(LORA_A)} - weights.keys():
        raise ModelError(
            f"{language} is not the language model that {parts} is for: it has no {min(missing)}"
        )
    for name, weight in weights.items():
        if name + LORA_A in trained:
            weight += trained[name + LORA_B].float() @ trained[name + LORA_A].float()
    weights[EMBEDDINGS] = longer(weights[EMBEDDINGS], config["vocab_size"])
    weights |= dequantized({name: weight for name, weight in trained.items() if ".lora_" not in name})
    with replacing(target) as draft:
        draft.mkdir()
        for file in {path.name for path in parts.iterdir()} - {TRAINED, MANIFEST}:
            shutil.copyfile(parts / file, draft / file)
        halves = {name: weight.to(torch.float16).contiguous() for name, weight in weights.items()}
        (draft / WEIGHTS).write_bytes(save(halves, {"format": "pt"}))
        write_manifest(draft, made_of)


def language_weights(file: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """The weights of a Llama in a GGUF file, in float32, by the names that they have in the checkpoint."""
    from gguf import GGUFReader
    from gguf.quants import dequantize

    tensors = GGUFReader(file).tensors
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for tensor in track(tensors, f"reading {file.name}", len(tensors)):
        weight = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        parts = tensor.name.split(".")
        if count := heads.get(parts[-2]):
            weight = rotary_halves(weight, count)
        yield LANGUAGE + ".".join(LLAMA.get(part, part) for part in parts), weight


def rotary_halves(weight: Tensor, heads: int) -> Tensor:
    """Rows of queries or keys as transformers has them: of the pairs that are turned together, the first ones
    of a head, then the second ones. llama.cpp has every pair side by side.
    """
    return weight.reshape(heads, -1, 2, weight.shape[-1]).transpose(1, 2).reshape(weight.shape)


def longer(rows: Tensor, count: int) -> Tensor:
    """So many rows: new ones are the mean of those there are."""
    mean = rows.double().mean(0).to(rows.dtype)  # in doubles, so that it is the same on every machine
    return torch.cat([rows, mean.expand(count - len(rows), -1)])


def dequantized(trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights, those of 8 bits multiplied by the scale of their row."""
    found = {name: weight.float() for name, weight in trained.items() if not name.endswith(SCALE)}
    for name, weight in found.items():
        if name + SCALE in trained:
            weight *= trained[name + SCALE].view(-1, *[1] * (weight.ndim - 1))
    return found


def write_manifest(folder: Path, made_of: Mapping[str, Any]) -> None:
    """Write the manifest of all that is in a folder."""
    files = {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    manifest: Manifest = {"format": MANIFESTS.format, "made_of": dict(made_of), "files": files}
    (folder / MANIFEST).write_text(MANIFESTS.text(manifest), "utf-8")


def check_manifest(folder: Path) -> None:
    """Raises FileError if a folder is not what its manifest says."""
    for name, digest in MANIFESTS.read(folder / MANIFEST)["files"].items():
        if not (folder / name).is_file() or sha256(folder / name) != digest:
            raise MANIFESTS.unusable(folder / MANIFEST, f"{name} is damaged or missing")


def sha256(file: Path) -> str:
    """Of all that the file holds; one that stays as it is is read once a process."""
    stat = file.stat()
    return _sha256(file, (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


@cache
def _sha256(file: Path, state: tuple[int, ...]) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()
