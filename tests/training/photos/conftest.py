"""The modules of training/photos, which is no package, and tiny pictures to train on."""

import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from transformers import LlamaConfig, LlamaForCausalLM

FOLDER = Path(__file__).parents[3] / "training" / "photos"
MODULES = (
    "alignment answering cases color evaluate features lora measures names outlines package parts photos "
    "prompts questions recipes runs schedule unseen views vision wheels windows"
)


@pytest.fixture(scope="module")
def recipe():
    """The modules by name."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield SimpleNamespace(**{name: import_module(name) for name in MODULES.split()})
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def shown(recipe, tmp_path):
    """Six known names with four plain photos each, and one photo of an unknown thing, all for training."""
    photos = []
    for number, name in enumerate(("ant", "camera", "car", "chair", "cup", "lamp")):
        for copy in range(4):
            file = tmp_path / f"{name}-{copy}.png"
            Image.new("RGB", (30 + copy, 20), (40 * number, 10 * copy, 0)).save(file)
            photos.append(recipe.photos.Photo(str(file), name, True, "train"))
    Image.new("RGB", (20, 20)).save(tmp_path / "odd.png")
    return [*photos, recipe.photos.Photo(str(tmp_path / "odd.png"), "wrench", False, "train")]


@pytest.fixture
def llama():
    """A language model of 32 dimensions and random weights."""
    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(**small, vocab_size=300, num_key_value_heads=2, tie_word_embeddings=True)
    return LlamaForCausalLM(config).eval()


class Letters:
    """A tokenizer of characters."""

    def __call__(self, text, **_):
        return {"input_ids": [ord(letter) for letter in text]}

    def decode(self, ids):
        return "".join(map(chr, ids))


@pytest.fixture
def letters():
    return Letters()
