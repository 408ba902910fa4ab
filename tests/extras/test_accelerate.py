"""Models that accelerate spreads and wraps, for real: `make test-extras` installs it."""

import pytest
import torch
from accelerate import Accelerator, dispatch_model

from wordsight import Random
from wordsight.models.vlm import VLM

pytestmark = pytest.mark.filterwarnings("ignore")  # of accelerate


def test_weights_on_the_disk_are_read_as_those_in_memory(tiny, saved, tmp_path, prompt):
    """The embeddings, too, which wordsight looks into."""
    vlm = VLM.from_pretrained(str(saved))
    places = {name: "cpu" for name, _ in vlm.model.model.named_children()}
    places = {f"model.{name}": place for name, place in places.items()} | {"lm_head": "cpu"}
    places["model.language_model"] = "disk"
    dispatch_model(vlm.model, places, main_device="cpu", offload_dir=str(tmp_path))
    assert vlm.model.get_input_embeddings().weight.is_meta
    assert torch.equal(vlm.logits([prompt]), tiny.logits([prompt]))
    assert torch.equal(vlm.pad_embedding, tiny.pad_embedding)
    assert vlm.fingerprint == tiny.fingerprint


def test_a_model_that_accelerate_has_prepared_is_unwrapped(tiny, saved, prompt):
    model = Accelerator(cpu=True).prepare(VLM.from_pretrained(str(saved)).model)
    pruned = Random(keep=0.3)(prompt)
    assert torch.equal(VLM(model, tiny.processor, "prepared").logits([pruned]), tiny.logits([pruned]))
