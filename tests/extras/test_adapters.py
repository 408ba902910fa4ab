"""Adapters of peft, for real: `make test-extras` installs it."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from wordsight import LoadOptions, Random, attach
from wordsight.media.inputs import MediaInput
from wordsight.models.conversation import Conversation
from wordsight.models.processing import process
from wordsight.models.vlm import VLM

pytestmark = pytest.mark.filterwarnings("ignore")  # of peft
LANGUAGE = r".*language_model.*\.q_proj"


def adapter_for(folder, target, path):
    """A LoRA of random weights, and the model that it is merged into."""
    base = VLM.from_pretrained(str(folder))
    config = LoraConfig(r=2, target_modules=target, init_lora_weights=False)
    adapted = get_peft_model(base.model, config)
    adapted.save_pretrained(path)
    return VLM(adapted.merge_and_unload(), base.processor, "merged")


def test_an_adapter_is_merged_and_seen_by_the_fingerprint(tiny, saved, tmp_path, prompt):
    merged = adapter_for(saved, LANGUAGE, tmp_path / "a")
    adapted = VLM.from_pretrained(str(saved), LoadOptions(adapter=str(tmp_path / "a")))
    assert torch.equal(adapted.logits([prompt]), merged.logits([prompt]))
    assert not torch.equal(adapted.logits([prompt]), tiny.logits([prompt]))
    base = VLM.from_pretrained(str(saved))
    assert adapted.fingerprint == base.fingerprint
    assert adapted.parts["language_model"] != base.parts["language_model"]
    assert adapted.parts["vision_tower"] == base.parts["vision_tower"]
    assert adapted.options.as_json() == {"adapter": str(tmp_path / "a")}


def test_an_adapter_of_the_projector_makes_another_token_space(saved, tmp_path):
    adapter_for(saved, ["linear_1"], tmp_path / "a")
    base, adapted = VLM.from_pretrained(str(saved)), LoadOptions(adapter=str(tmp_path / "a"))
    assert VLM.from_pretrained(str(saved), adapted).fingerprint != base.fingerprint


def test_a_model_that_peft_has_wrapped_generates_from_the_pruned_prompt(saved, picture):
    base, pruner = VLM.from_pretrained(str(saved)), Random(keep=0.3)
    wrapped = get_peft_model(base.model, LoraConfig(r=2, target_modules=LANGUAGE, init_lora_weights=False))
    question = "what is the background?"
    inputs = dict(process(base.processor, Conversation.about(MediaInput.of(picture), question)).inputs)
    with attach(wrapped, base.processor, pruner):
        output = wrapped.generate(**inputs, max_new_tokens=4, do_sample=False)
    said = base.processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    adapted = VLM(wrapped, base.processor, "wrapped")
    assert adapted.answer(picture, question, pruner=pruner, max_new_tokens=4).text == said.strip()
    with wrapped.disable_adapter():
        plain = adapted.logits([adapted.encode(picture, question)])
    assert not torch.equal(plain, adapted.logits([adapted.encode(picture, question)]))
