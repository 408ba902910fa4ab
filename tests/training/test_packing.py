"""What is packed into one row reads like the chat template's prompts, one by one."""

import numpy as np
import pytest
import torch

from wordsight.synthetic.questions import Question

ASKED = [
    Question("a", "what is it?", "a cat"),
    Question("b", "what?", "cat"),
    Question("c", "animal?", "garden"),
]


@pytest.fixture(scope="module")
def model(training):
    """A model of random weights that are large enough to tell words apart, and its processor."""
    torch.manual_seed(0)
    model = training.model.build_model(128).eval()
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)
    return model, training.model.build_processor()


def alone(model, processor, features, turns):
    """The logits after a prompt that ends in the question of the last turn."""
    content = [[{"type": "image"}] * len(features), [], []]
    messages = []
    for i, turn in enumerate(turns):
        messages.append({"role": "user", "content": [*content[i], {"type": "text", "text": turn.text}]})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
    text = processor.apply_chat_template(messages[:-1], add_generation_prompt=True)
    text = text.replace("<image>", "<image>" * features.shape[1])
    ids = torch.tensor([processor.tokenizer(text, add_special_tokens=False)["input_ids"]])
    embeds = model.get_input_embeddings()(ids)
    embeds[ids == 4] = model.model.multi_modal_projector(features).flatten(0, 1)
    states = model.model.language_model(inputs_embeds=embeds).last_hidden_state
    return model.lm_head(states[0, -1])


@pytest.mark.parametrize(("count", "kept"), [(1, 144), (2, 144), (2, 49), (1, 0)])
@torch.no_grad()
def test_later_turns_read_like_the_chat_template(training, model, count, kept):
    model, processor = model
    features = torch.randn(count, kept, 192)
    packed = training.packing.pack([[ASKED[:1], ASKED]], limit=1000)
    visual = model.model.multi_modal_projector(features)[None]
    slots = torch.arange(kept).expand(1, count, -1)
    logits = model.lm_head(training.packing.hidden_states(model, visual, slots, packed))[0]
    for number in range(1, 4):
        turn = (packed.conversation[0] == 2) & (packed.question[0] == number + 1)
        first = int((turn & (packed.target[0] != -100)).nonzero()[0])
        expected = alone(model, processor, features, ASKED[:number])
        torch.testing.assert_close(logits[first], expected, rtol=1e-4, atol=1e-4)


def test_answers_and_their_ends_are_learned_and_nothing_else(training):
    packed = training.packing.pack([[ASKED]], limit=1000)
    learned = packed.target[0][packed.target[0] != -100].tolist()
    tokenizer = training.packing.TOKENIZER
    assert tokenizer.decode(learned) == "a cat </s> cat </s> garden </s>"
    ids = packed.ids[0].tolist()
    assert tokenizer.decode(ids) == (
        "what is it? assistant : a cat user : what? assistant : cat user : animal? assistant : garden"
    )


def test_a_row_is_not_longer_than_its_limit(training):
    whole = training.packing.pack([[ASKED]], limit=1000)
    cut = training.packing.pack([[ASKED]], limit=whole.ids.shape[1] - 1)
    assert cut.ids.shape[1] < whole.ids.shape[1]
    assert set(cut.question[0].tolist()) == {1, 2}


def test_turns_hold_every_question_once(training):
    for seed in range(10):
        turns = training.packing.in_turns(np.random.default_rng(seed), ASKED)
        assert sorted(q for turn in turns for q in turn) == sorted(ASKED)
