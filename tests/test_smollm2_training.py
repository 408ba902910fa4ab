"""The script that trains the adapter, on a tiny language model, and the packed prompts it learns from."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wordsight.demo.questions import Question
from wordsight.demo.smollm2 import assemble
from wordsight.vlm import VLM

QUESTION = "what is the animal in the garden?"


@pytest.fixture(scope="module")
def small(training):
    """The architecture of the embedded model, untrained, with the dialect it is trained in."""
    torch.manual_seed(0)
    model = training.model.build_model(len(training.packing.TOKENIZER))
    return VLM(model, training.model.build_processor(), "small"), training.packing.SMALL


@pytest.fixture(params=["the embedded model", "around a tiny Llama"])
def spoken(request, training, small, around_tiny):
    """A model, and the dialect in which training packs its questions."""
    if request.param == "the embedded model":
        return small
    return around_tiny, training.smollm2.dialect(around_tiny.processor.tokenizer)


pictured = pytest.mark.parametrize("pictures", [1, 2, 3])


@pictured
def test_a_packed_prompt_has_the_tokens_of_the_chat_template(spoken, picture, pictures):
    vlm, dialect = spoken
    image = [vlm.model.config.image_token_id] * 144
    ids = dialect.before()
    for i in range(pictures):
        ids = ids + (dialect.label(i) if pictures > 1 else []) + image
    whole = vlm.encode([picture] * pictures, QUESTION).sequence["input_ids"].tolist()
    assert ids + dialect.asked(QUESTION) == whole


@pictured
@torch.no_grad()
def test_packed_questions_get_the_logits_of_their_prompts(training, spoken, picture, pictures):
    vlm, dialect = spoken
    asked = [QUESTION, "a cat?", "what is a garden?"]
    prompts = [vlm.encode([picture] * pictures, text) for text in asked]
    packed = training.packing.pack(
        [[Question("any", text, "a cat") for text in asked]], limit=200, dialect=dialect
    )
    visual = prompts[0].visual.embeds.view(1, pictures, 144, -1)
    slots = torch.arange(144).expand(1, pictures, -1)
    states = training.packing.hidden_states(vlm.model, visual, slots, packed, dialect)[0]
    first = [int(((packed.question[0] == i) & (packed.target[0] >= 0)).nonzero()[0]) for i in (1, 2, 3)]
    torch.testing.assert_close(vlm.model.lm_head(states[first]), vlm.logits(prompts), rtol=1e-4, atol=1e-4)


def test_an_answer_ends_with_the_end_of_the_turn(training, around_tiny):
    tokenizer = around_tiny.processor.tokenizer
    answered = training.smollm2.dialect(tokenizer).answered("a cat")
    assert tokenizer.decode(answered) == "a cat<|im_end|>"


@pytest.fixture
def learn(training, tiny_language, monkeypatch, tmp_path):
    """A function that runs the script for so many seconds on one batch, and returns the adapter's path."""
    script = training.smollm2
    tower = training.model.build_model(8).model.vision_tower.state_dict()
    torch.save({"tower": tower}, tmp_path / "tower_0.pt")
    questions = [[Question("any", QUESTION, "a cat")], [Question("any", "a cat?", "garden")]]
    random = torch.Generator().manual_seed(0)
    features = torch.randn(2, 1, 5, 192, generator=random)
    batch = training.batches.Batch(features, torch.arange(5).expand(2, 1, 5), questions, 100)
    monkeypatch.setattr(script, "BUILD", tmp_path)
    monkeypatch.setattr(script, "Pictures", lambda *_: SimpleNamespace(draw=lambda rng, done: batch))
    monkeypatch.setattr(script, "quick_accuracy", lambda *_, **__: {})

    def run(seconds):
        target = tmp_path / "adapter.safetensors"
        script.train(minutes=seconds / 60, device="cpu", source=tiny_language, target=target)
        return target

    run.tower, run.build, run.batch = tower, tmp_path, batch
    return run


def test_training_lowers_the_loss_and_leaves_tower_and_language_model_alone(training, learn, tiny_language):
    torch.manual_seed(0)
    start, processor = assemble(None, source=tiny_language)
    dialect = training.smollm2.dialect(processor.tokenizer)
    trained, _ = assemble(learn(2), source=tiny_language)
    before, after = (
        float(training.smollm2.answer_loss(model, learn.batch, np.random.default_rng(0), dialect).detach())
        for model in (start, trained)
    )
    assert after < before
    for name, weight in trained.model.vision_tower.state_dict().items():
        assert torch.equal(weight, learn.tower[name].half().float())


def test_training_goes_on_from_its_checkpoint(learn):
    def checkpoint():
        return torch.load(learn.build / "smollm2_0.pt", weights_only=True)

    learn(0.5)
    first = checkpoint()
    learn(first["spent"] + 0.5)
    second = checkpoint()
    assert second["step"] > first["step"]
    learn(0)
    assert checkpoint()["step"] == second["step"]
