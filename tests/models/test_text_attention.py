"""Text-to-image attention, against what eager attention returns."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from wordsight.errors import UsageError
from wordsight.models.prompt import collate
from wordsight.models.text_attention import text_attention


def eager_attention(vlm, prompt):
    """(layers, N): the last row of the attention that transformers itself gives."""
    implementation = vlm.model.config._attn_implementation
    vlm.model.set_attn_implementation("eager")
    with torch.no_grad():
        found = vlm.model(**collate([prompt]), output_attentions=True).attentions
    vlm.model.set_attn_implementation(implementation)
    columns = prompt.is_visual[prompt.is_kept()]
    return torch.stack([layer[0, :, -1].mean(0)[columns] for layer in found])


@pytest.mark.parametrize("model", ["tiny", "deep", "embedded"])
def test_the_attention_of_every_layer_is_that_of_eager_attention(model, request, picture):
    vlm = request.getfixturevalue(model)
    prompt = vlm.encode(picture, "what is the background?")
    expected = eager_attention(vlm, prompt)
    assert expected.shape == (len(vlm.model.get_decoder().layers), 144)
    torch.testing.assert_close(text_attention(vlm.model, prompt), expected, rtol=1e-4, atol=1e-7)


def test_the_attention_of_a_pruned_prompt_is_of_the_tokens_that_are_left(deep, picture):
    prompt = deep.encode(picture, "what is the background?")
    pruned = replace(prompt, visual=prompt.visual.take(torch.arange(3, 144, 7)))
    found = text_attention(deep.model, pruned)
    assert found.shape == (6, len(pruned.visual))
    torch.testing.assert_close(found, eager_attention(deep, pruned), rtol=1e-4, atol=1e-7)


def test_capturing_attention_leaves_the_model_as_it_was(tiny, prompt):
    before = tiny.logits([prompt])
    text_attention(tiny.model, prompt)
    assert torch.equal(tiny.logits([prompt]), before)


def test_a_model_whose_attention_cannot_be_captured_is_refused(tiny, prompt, monkeypatch):
    layer = SimpleNamespace(self_attn=SimpleNamespace(config=tiny.model.config.text_config))
    monkeypatch.setattr("wordsight.models.text_attention.attention_layers", lambda model: [layer])
    with pytest.raises(
        UsageError,
        match=r"SimpleNamespace computes attention by code of its own",
    ):
        text_attention(tiny.model, prompt)
