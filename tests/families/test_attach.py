"""A caller's own generate reads pruned prompts: the same as VLM.generate on each, in every family."""

import facts
import pytest
import torch
import transformers as hf
from packaging.version import Version

from wordsight import DivPrune, FastV, MMTok, Random, UsageError, attach
from wordsight.media.inputs import MediaInput
from wordsight.models.conversation import Conversation
from wordsight.models.processing import process, prompt_text

QUESTIONS = ("what color is the cat?", "is there a cat or a dog in the garden?")
LENGTH = {"max_new_tokens": 4, "do_sample": False}
PRUNERS = (Random(keep=0.4), DivPrune(tokens=3), MMTok(keep=0.3), FastV(keep=0.5, layer=1))


def own_inputs(vlm, media, questions):
    """What a caller gets from his processor, with whole prompts padded on the left."""
    vlm.processor.tokenizer.padding_side = "left"
    if len(questions) == 1:
        return dict(process(vlm.processor, Conversation.about(MediaInput.of(media), questions[0])).inputs)
    texts = [
        prompt_text(vlm.processor, Conversation.about(MediaInput.of(one), text))
        for one, text in zip(media, questions, strict=True)
    ]
    begun = {"add_special_tokens": False} if texts[0].startswith("<s>") else {}
    images = [list(MediaInput.of(one).pictures) for one in media]
    inputs = vlm.processor(text=texts, images=images, padding=True, return_tensors="pt", **begun)
    return {name: value for name, value in inputs.items() if name != "labels"}


def can_run(vlm, pruner):
    try:
        pruner.check(vlm)
    except UsageError:
        return False
    return True


def assert_generated(vlm, pruner, inputs, prompts):
    """Attached, generate says of these inputs what VLM.generate says of the pruned prompts."""
    with attach(vlm.model, vlm.processor, pruner):
        output = vlm.model.generate(**inputs, **LENGTH)
    length = inputs["input_ids"].shape[1]
    assert torch.equal(output[:, :length], inputs["input_ids"])
    said = vlm.processor.batch_decode(output[:, length:], skip_special_tokens=True)
    expected = vlm.generate([pruner(prompt) for prompt in prompts], max_new_tokens=4)
    assert [text.strip() for text in said] == expected


@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda pruner: type(pruner).__name__)
@pytest.mark.shows("attach")
def test_generate_is_that_of_the_pruned_prompt(vlm, media, pruner):
    if can_run(vlm, pruner):
        prompt = vlm.encode(media, QUESTIONS[0], signals=pruner.required_signals)
        assert_generated(vlm, pruner, own_inputs(vlm, media, QUESTIONS[:1]), [prompt])


@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda pruner: type(pruner).__name__)
@pytest.mark.shows("attach")
def test_generate_of_a_padded_batch_is_that_of_its_pruned_prompts(vlm, picture, pruner):
    if not can_run(vlm, pruner):
        return
    media = [picture(90, 40, 0), [picture(50, 50, 1), picture(64, 96, 2)]]
    prompts = [
        vlm.encode(one, text, signals=pruner.required_signals)
        for one, text in zip(media, QUESTIONS, strict=True)
    ]
    assert_generated(vlm, pruner, own_inputs(vlm, media, QUESTIONS), prompts)


@pytest.mark.parametrize("beams", [{"num_beams": 2}, {"num_beams": 3, "num_return_sequences": 2}])
@pytest.mark.shows("attach")
def test_beams_with_all_tokens_are_those_of_the_untouched_model(vlm, picture, beams):
    if vlm.family.is_recurrent and Version(hf.__version__) < Version("5.24"):
        pytest.skip("this transformers scores beams of recurrent layers wrongly itself; 5.24 does not")
    if facts.kind(vlm) in facts.NO_BEAMS:
        with (
            attach(vlm.model, vlm.processor, Random(keep=1.0)),
            pytest.raises(UsageError, match="no pictures"),
        ):
            vlm.model.generate(**own_inputs(vlm, picture(40, 40, 0), QUESTIONS[:1]), **LENGTH, **beams)
        return
    second = [picture(50, 50, 1), picture(64, 96, 2)]
    if facts.kind(vlm) in facts.ONE_PICTURE_BEAMS:
        second = second[:1]
    inputs = own_inputs(vlm, [picture(90, 40, 0), second], QUESTIONS)
    expected = vlm.model.generate(**inputs, **LENGTH, **beams)
    with attach(vlm.model, vlm.processor, Random(keep=1.0)):
        output = vlm.model.generate(**inputs, **LENGTH, **beams)
    assert torch.equal(output, expected)


@pytest.mark.shows("attach")
def test_detaching_leaves_no_trace(vlm, picture):
    before = set(vars(vlm.model)), vlm.model.generate
    modes = [module.training for module in vlm.model.modules()]
    hooks = sum(len(module._forward_pre_hooks) for module in vlm.model.modules())
    attached = attach(vlm.model, vlm.processor, Random(keep=0.5))
    vlm.model.generate(**own_inputs(vlm, picture(40, 40, 0), QUESTIONS[:1]), **LENGTH)
    attached.detach()
    assert (set(vars(vlm.model)), vlm.model.generate) == before
    assert [module.training for module in vlm.model.modules()] == modes
    assert sum(len(module._forward_pre_hooks) for module in vlm.model.modules()) == hooks


@pytest.mark.shows("attach")
def test_beams_of_a_batch_that_drops_between_layers_are_those_of_each_prompt(vlm, picture):
    pruner = FastV(keep=0.5, layer=1)
    if not can_run(vlm, pruner) or facts.kind(vlm) in facts.NO_BEAMS:
        return
    media = [picture(90, 40, 0), picture(50, 50, 1)]
    beams = {"num_beams": 2, "num_return_sequences": 2}
    with attach(vlm.model, vlm.processor, pruner):
        whole = own_inputs(vlm, media, QUESTIONS)
        both = vlm.model.generate(**whole, **LENGTH, **beams)[:, whole["input_ids"].shape[1] :]
        for number, (one, text) in enumerate(zip(media, QUESTIONS, strict=True)):
            inputs = own_inputs(vlm, one, [text])
            alone = vlm.model.generate(**inputs, **LENGTH, **beams)[:, inputs["input_ids"].shape[1] :]
            assert torch.equal(both[2 * number : 2 * number + 2, : alone.shape[1]], alone)
