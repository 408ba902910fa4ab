"""The contract of every family: a pruned prompt is what the untouched model reads without those tokens."""

from dataclasses import replace

import pytest
import torch
import transformers as hf
from packaging.version import Version

from wordsight import Video
from wordsight.media.inputs import MediaInput
from wordsight.models.conversation import Conversation
from wordsight.models.processing import process, prompt_text

QUESTION = "what color is the cat?"
LONGER = "is there a cat or a dog in the garden?"


@pytest.fixture
def prompt(vlm, media):
    return vlm.encode(media, QUESTION)


def subset(prompt, share, seed):
    chosen = torch.rand(len(prompt.visual), generator=torch.Generator().manual_seed(seed)) < share
    return replace(prompt, visual=prompt.visual.take(chosen.nonzero()[:, 0]))


def none_of(prompt, image):
    """Without the tokens of one picture, its line breaks among them."""
    return replace(prompt, visual=prompt.visual.take((prompt.visual.cell[:, 0] != image).nonzero()[:, 0]))


def untouched(vlm, inputs, **changed):
    """The logits (B, L, V) of the model on what its own processor made, no cache."""
    inputs.pop("labels", None)
    if "num_frames_per_video" in inputs and Version(hf.__version__) < Version("5.24"):
        pytest.skip("this transformers does not read films of Gemma 4 itself; 5.24 does")
    with torch.no_grad():
        return vlm.model(**{**inputs, **changed}, use_cache=False).logits


def read(vlm, prompt):
    """The logits (L, V) of a prompt."""
    with torch.no_grad():
        return vlm.model(**prompt.inputs(), use_cache=False).logits[0]


def oracle(vlm, media, prompt):
    """The unpruned model with the mask 0 on dropped tokens and the same positions: logits of kept tokens."""
    if vlm.family.is_recurrent:
        return without_dropped(vlm, media, prompt)
    kept = prompt.is_kept()
    logits = untouched(
        vlm,
        process(vlm.processor, Conversation.about(MediaInput.of(media), QUESTION)).inputs,
        attention_mask=kept[None].long(),
        position_ids=prompt.sequence["position_ids"].unsqueeze(-2),
    )
    return logits[0][kept]


def without_dropped(vlm, media, prompt):
    """The language model alone, given what it reads of the whole prompt but the states of dropped tokens.

    A masked token is not an absent one where a layer carries a state from token to token.
    """
    kept, found = prompt.is_kept(), {}
    language = vlm.model.model.language_model
    hook = language.register_forward_pre_hook(lambda *call: found.update(call[2]), with_kwargs=True)
    untouched(vlm, process(vlm.processor, Conversation.about(MediaInput.of(media), QUESTION)).inputs)
    hook.remove()
    positions = prompt.sequence["position_ids"][..., kept].unsqueeze(-2)
    if positions.ndim == 3:
        positions[0] = torch.arange(positions.shape[-1])
    with torch.no_grad():
        output = language(
            inputs_embeds=found["inputs_embeds"][:, kept],
            position_ids=positions,
            attention_mask=torch.ones(1, int(kept.sum()), dtype=torch.long),
            use_cache=False,
        )
        return vlm.model.lm_head(output.last_hidden_state)[0]


def test_a_prompt_is_what_the_processor_itself_makes_of_the_conversation(vlm, picture):
    if not vlm.processor.chat_template:
        return
    media = picture(40, 40, 0)
    content = [{"type": "image", "image": media}, {"type": "text", "text": QUESTION}]
    theirs = vlm.processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    assert torch.equal(vlm.encode(media, QUESTION).sequence["input_ids"], theirs["input_ids"][0])


@pytest.mark.shows
def test_a_prompt_with_all_tokens_is_that_of_the_untouched_model(vlm, media, prompt):
    inputs = process(vlm.processor, Conversation.about(MediaInput.of(media), QUESTION)).inputs
    assert torch.equal(read(vlm, prompt), untouched(vlm, inputs)[0])


@pytest.mark.shows
def test_some_tokens_are_those_that_a_masked_model_reads(vlm, media, prompt):
    for share in (0.1, 0.5):
        kept = subset(prompt, share, 1)
        expected = oracle(vlm, media, kept)
        torch.testing.assert_close(read(vlm, kept), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(vlm.logits([kept])[0], expected[-1], rtol=0, atol=1e-5)


def test_without_its_mask_a_prompt_with_gaps_would_be_read_as_several(vlm, prompt):
    """The trap that `collate` guards against: positions with gaps and no mask look like packed sequences."""
    if not vlm.family.is_causal(vlm.model):
        return  # reads in both directions: its mask does not come from positions
    inputs = subset(prompt, 0.3, 1).inputs()
    with torch.no_grad():
        guarded = vlm.model(**inputs, use_cache=False).logits[0, -1]
        del inputs["attention_mask"]
        if inputs["position_ids"].ndim == 3:
            inputs["position_ids"][0] = inputs["position_ids"][1]  # what gap-free positions stand for
        trapped = vlm.model(**inputs, use_cache=False).logits[0, -1]
    assert (guarded - trapped).abs().max() > 0.01


@pytest.mark.shows
def test_a_picture_may_lose_all_of_its_tokens(vlm, media, prompt):
    kept = none_of(prompt, 0)
    torch.testing.assert_close(read(vlm, kept), oracle(vlm, media, kept), rtol=0, atol=1e-5)
    assert vlm.generate([kept], max_new_tokens=2)


@pytest.mark.shows
def test_generation_with_a_cache_is_that_of_reading_all_again(vlm, prompt):
    kept, said = subset(prompt, 0.5, 2), []
    growing = kept
    for _ in range(5):
        said.append(int(read(vlm, growing)[-1].argmax()))
        growing = growing.followed_by(said[-1], vlm.family.generated)
    text = vlm.processor.decode(said, skip_special_tokens=True).strip()
    assert vlm.generate([kept], max_new_tokens=5) == [text]


@pytest.mark.shows("batch")
def test_a_batch_of_whole_prompts_is_that_of_the_untouched_model(vlm, picture):
    media = [MediaInput.of(picture(90, 40, 0)), MediaInput.of(picture(50, 50, 1))]
    asked = (QUESTION, LONGER)
    texts = [prompt_text(vlm.processor, Conversation.about(*each)) for each in zip(media, asked, strict=True)]
    vlm.processor.tokenizer.padding_side = "left"
    images = [list(one.pictures) for one in media]
    begun = {} if not texts[0].startswith("<s>") else {"add_special_tokens": False}
    inputs = vlm.processor(text=texts, images=images, padding=True, return_tensors="pt", **begun)
    prompts = [vlm.encode(one.pictures, text) for one, text in zip(media, asked, strict=True)]
    expected = untouched(vlm, inputs)[:, -1]
    close = 1e-6 * float(expected.abs().max())
    torch.testing.assert_close(vlm.logits(prompts), expected, rtol=0, atol=close)


@pytest.mark.shows("batch")
def test_a_batch_is_its_rows_one_by_one(vlm, media):
    prompts = [vlm.encode(media, text) for text in (QUESTION, LONGER)]
    prompts += [subset(prompts[0], 0.3, 3), subset(prompts[1], 0.6, 4), subset(prompts[0], 0, 5)]
    alone = torch.cat([vlm.logits([prompt]) for prompt in prompts])
    close = 1e-5 * max(1, float(alone.abs().max()))
    torch.testing.assert_close(vlm.logits(prompts), alone, rtol=0, atol=close)
    said = [vlm.generate([prompt], max_new_tokens=4)[0] for prompt in prompts]
    assert vlm.generate(prompts, max_new_tokens=4) == said


def test_a_batch_of_pictures_and_videos_is_its_rows_one_by_one(vlm, picture):
    still, film = picture(60, 40, 7), Video.of([picture(60, 40, seed) for seed in range(2)])
    prompts = [vlm.encode(still, QUESTION), vlm.encode(still, LONGER)]
    prompts.append(vlm.encode(film, QUESTION))
    alone = torch.cat([vlm.logits([prompt]) for prompt in prompts])
    close = 1e-5 * max(1, float(alone.abs().max()))
    torch.testing.assert_close(vlm.logits(prompts), alone, rtol=0, atol=close)


@pytest.mark.shows("batch")
def test_a_list_of_questions_is_answered_as_one_by_one(vlm, picture):
    media = [picture(90, 40, 0), [picture(50, 50, 1), picture(50, 50, 2)]]
    alone = [vlm.answer(one, QUESTION, max_new_tokens=4) for one in media]
    both = vlm.answer(media, [QUESTION, QUESTION], max_new_tokens=4)
    assert [(a.text, a.tokens_kept) for a in both] == [(a.text, a.tokens_kept) for a in alone]
