"""Cascade: attention in two parts is attention, and the model is afterwards as it was."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from transformers import LlavaForConditionalGeneration, MistralConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from wordsight.errors import ModelError, UsageError
from wordsight.models.cascade import _attend_plainly, attend, can_cascade
from wordsight.models.vlm import VLM
from wordsight.pruners.fastv import FastV


def one_by_one(vlm, prompts):
    with torch.no_grad():
        return torch.cat([vlm.model(**prompt.inputs(), use_cache=False).logits[:, -1] for prompt in prompts])


def changed_late(prompt, count=5):
    """Prompts of one length, which share half of the picture."""
    found = []
    for i in range(count):
        embeds = prompt.visual.embeds.clone()
        embeds[72:] = embeds[72:].roll(i, 0)
        found.append(replace(prompt, visual=replace(prompt.visual, embeds=embeds)))
    return found


def of_many_lengths(vlm, picture, count=144):
    """Prompts about one picture, of so many visual tokens each."""
    prompts = []
    for question in ("what color is the cat?", "is there a cat or a dog in the garden?", "cat?"):
        prompts.append(vlm.encode(picture, question, visual=prompts[0].visual if prompts else None))
    return [replace(one, visual=one.visual.take(torch.arange(count))) for one in prompts]


def state(vlm):
    layers = vlm.model.get_decoder().layers
    hooks = [len(module._forward_pre_hooks) for module in vlm.model.modules()]
    return [layer.self_attn.config for layer in layers], sorted(ALL_ATTENTION_FUNCTIONS.keys()), hooks


@pytest.mark.parametrize("is_causal", [False, True])
def test_the_fused_kernel_reads_and_weighs_as_softmax_does(is_causal):
    query, key, value = torch.randn(3, 2, 4, 7, 8)
    for ours, plain in zip(
        attend(query, key, value, scale=0.3, is_causal=is_causal),
        _attend_plainly(query, key, value, scale=0.3, is_causal=is_causal),
        strict=True,
    ):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)


def test_without_a_fused_kernel_logits_are_the_same(deep, prompt, monkeypatch):
    prompts = changed_late(prompt)
    monkeypatch.setattr("wordsight.models.cascade.attend", _attend_plainly)
    torch.testing.assert_close(deep.logits(prompts), one_by_one(deep, prompts), rtol=1e-5, atol=1e-5)


def test_logits_after_a_prompt_that_was_read_are_those_of_whole_prompts(deep, prompt):
    prompts, begun = changed_late(prompt)[1:], deep.begin(prompt)
    found = deep.logits(prompts, after=begun)
    torch.testing.assert_close(found, one_by_one(deep, prompts), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(begun.logits, one_by_one(deep, [prompt]), rtol=1e-5, atol=1e-5)


def test_logits_after_a_prompt_that_begins_otherwise_are_those_of_whole_prompts(deep, prompt):
    ids = prompt.sequence["input_ids"].clone()
    ids[0] = 85
    begun = deep.begin(replace(prompt, sequence={**prompt.sequence, "input_ids": ids}))
    prompts = changed_late(prompt)
    found = deep.logits(prompts, after=begun)
    torch.testing.assert_close(found, one_by_one(deep, prompts), rtol=1e-5, atol=1e-5)


def test_prompts_of_many_lengths_after_a_longer_one_that_was_read_are_as_whole_ones(deep, picture):
    prompts = of_many_lengths(deep, picture)
    found = deep.logits(prompts, after=deep.begin(prompts[1]))
    torch.testing.assert_close(found, one_by_one(deep, prompts), rtol=1e-5, atol=1e-5)


def test_a_beginning_takes_the_bytes_of_its_keys_and_values(deep, prompt):
    text = deep.model.config.text_config
    width = text.num_key_value_heads * text.head_dim
    assert deep.begin(prompt).bytes == 2 * text.num_hidden_layers * prompt.length * width * 4


def test_a_prompt_that_loses_tokens_between_layers_is_no_beginning(deep, prompt):
    with pytest.raises(UsageError, match="FastV drops tokens between layers"):
        deep.begin(FastV()(prompt))


def test_the_beginning_is_read_once_and_its_keys_are_not_repeated(deep, prompt, monkeypatch):
    def repeat(*given):
        pytest.fail("keys and values were repeated")

    monkeypatch.setattr("transformers.DynamicCache.batch_repeat_interleave", repeat)
    deep.logits(changed_late(prompt))


def test_the_model_is_afterwards_as_it_was(deep, prompt):
    before = state(deep)
    deep.logits(changed_late(prompt))
    after = state(deep)
    assert all(ours is theirs for ours, theirs in zip(before[0], after[0], strict=True))
    assert before[1:] == after[1:]


def test_the_model_is_as_it_was_after_an_error(deep, prompt, monkeypatch):
    before = state(deep)

    def broken(*given, **options):
        raise ValueError("no")

    monkeypatch.setattr("wordsight.models.cascade.attend", broken)
    with pytest.raises(ModelError, match="cannot read this prompt"):
        deep.logits(changed_late(prompt))
    assert state(deep)[1:] == before[1:]
    assert all(ours is theirs for ours, theirs in zip(before[0], state(deep)[0], strict=True))


@pytest.fixture
def windowed(tiny):
    """The tiny model with a language model whose layers see 100 tokens back."""
    torch.manual_seed(0)
    config = tiny.model.config.from_dict(tiny.model.config.to_dict())
    text = {**config.text_config.to_dict(), "sliding_window": 100, "num_key_value_heads": 2}
    config.text_config = MistralConfig(
        **{name: value for name, value in text.items() if name != "model_type"}
    )
    config._attn_implementation = "sdpa"
    return VLM(LlavaForConditionalGeneration(config).float(), tiny.processor, "windowed")


def test_behind_a_window_keys_are_repeated_and_logits_are_the_same(windowed, prompt):
    prompts = changed_late(prompt)
    assert not can_cascade(windowed.model, windowed.begin(prompt).cache, prompt.length)
    torch.testing.assert_close(windowed.logits(prompts), one_by_one(windowed, prompts), rtol=1e-5, atol=1e-5)


def test_behind_a_window_prompts_of_many_lengths_are_as_whole_ones(windowed, picture):
    prompts = of_many_lengths(windowed, picture)
    torch.testing.assert_close(windowed.logits(prompts), one_by_one(windowed, prompts), rtol=1e-5, atol=1e-5)


def test_within_a_window_prompts_of_many_lengths_share_what_they_begin_with(windowed, picture, monkeypatch):
    prompts, begun = of_many_lengths(windowed, picture, 50), []
    begin = VLM._begin
    monkeypatch.setattr(VLM, "_begin", lambda *given: begun.append(begin(*given)) or begun[-1])
    torch.testing.assert_close(windowed.logits(prompts), one_by_one(windowed, prompts), rtol=1e-5, atol=1e-5)
    assert max(prompt.length for prompt in prompts) < 100
    assert begun


def test_nothing_is_read_after_a_prompt_of_which_a_window_has_forgotten_the_beginning(windowed, picture):
    (long, *_), (short, *_) = (of_many_lengths(windowed, picture, count) for count in (144, 50))
    found = windowed.logits([short], after=windowed.begin(long))
    torch.testing.assert_close(found, one_by_one(windowed, [short]), rtol=1e-5, atol=1e-5)


def test_a_prompt_within_the_window_is_read_in_a_cascade(windowed, prompt):
    short = replace(prompt, visual=prompt.visual.take(torch.arange(50)))
    assert can_cascade(windowed.model, windowed.begin(short).cache, short.length)


def test_threads_that_read_with_one_model_do_not_disturb_each_other(deep, prompt):
    groups = [changed_late(prompt, count) for count in (2, 3, 4, 5)]
    before, expected = state(deep), [one_by_one(deep, prompts) for prompts in groups]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(deep.logits, groups * 3))
    for ours, theirs in zip(found, expected * 3, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert state(deep)[1:] == before[1:]
