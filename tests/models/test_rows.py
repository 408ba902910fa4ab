"""A batch that no processor has made is refused by a sentence, and one without pictures is not."""

import pytest
import torch

from wordsight import MMTok, UsageError, VisionZip
from wordsight.errors import ModelError
from wordsight.media.inputs import MediaInput
from wordsight.models.conversation import Conversation
from wordsight.models.processing import process


@pytest.fixture
def inputs(tiny, picture):
    conversation = Conversation.about(MediaInput.of(picture), "what color is the cat?")
    return dict(process(tiny.processor, conversation).inputs)


WRONG = {
    "one row": ("input_ids", lambda ids: ids[0], "input_ids as a tensor"),
    "a list of ids": ("input_ids", lambda ids: ids.tolist(), "input_ids as a tensor"),
    "a short mask": ("attention_mask", lambda mask: mask[:, 1:], "attention_mask must be .* got shape"),
    "a list as mask": ("attention_mask", lambda mask: mask.tolist(), "attention_mask must be a tensor"),
}


@pytest.mark.parametrize(("name", "change", "said"), WRONG.values(), ids=WRONG)
def test_what_is_no_batch_is_refused(tiny, inputs, name, change, said):
    with pytest.raises(UsageError, match=said):
        tiny.read(inputs | {name: change(inputs[name])})


def test_pictures_without_a_placeholder_are_refused(tiny, inputs):
    cut = {name: inputs[name][:, -5:] for name in ("input_ids", "attention_mask")}
    with pytest.raises(ModelError, match="no placeholder"):
        tiny.read(inputs | cut)


def test_a_batch_of_text_may_hold_no_pictures_under_their_name(tiny, inputs):
    text = {name: inputs[name][:, -5:] for name in ("input_ids", "attention_mask")}
    (prompt,) = tiny.read(text | {"pixel_values": inputs["pixel_values"][:0]})
    assert len(prompt.visual) == 0


@pytest.mark.parametrize("pruner", [MMTok(keep=0.2), VisionZip(keep=0.2)], ids=["mmtok", "visionzip"])
def test_a_prompt_without_pictures_is_pruned_to_itself(tiny, pruner):
    text = [{"role": "user", "content": "what is two and two?"}]
    prompt = tiny.encode_messages(text, signals=pruner.required_signals)
    assert torch.equal(pruner(prompt).inputs()["input_ids"], prompt.inputs()["input_ids"])
    answer = tiny.chat(messages=text, pruner=pruner).answer(max_new_tokens=2)
    assert answer.tokens_total == 0
