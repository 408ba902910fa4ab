"""What any processor returned for any batch is read as the prompts of its rows."""

import pytest
import torch

from wordsight import Random, Video
from wordsight.media.inputs import MediaInput
from wordsight.models.conversation import Conversation
from wordsight.models.processing import process, prompt_text
from wordsight.models.turns import last_questions

QUESTIONS = ("what color is the cat?", "is there a cat or a dog in the garden?", "what is it?")


def batched(vlm, media, questions, side):
    """What the processor itself makes of several questions, each about its own pictures."""
    texts = [
        prompt_text(vlm.processor, Conversation.about(*each)) for each in zip(media, questions, strict=True)
    ]
    vlm.processor.tokenizer.padding_side = side
    begun = {"add_special_tokens": False} if texts[0].startswith("<s>") else {}
    images = [list(one.pictures) for one in media]
    return vlm.processor(text=texts, images=images, padding=True, return_tensors="pt", **begun)


def _joined(values):
    if isinstance(values[0], torch.Tensor):
        return torch.cat(values)
    return [item for value in values for item in value]


def assert_same(read, encoded):
    for name in encoded.sequence:
        assert torch.equal(read.sequence[name], encoded.sequence[name]), name
    assert torch.equal(read.is_visual, encoded.is_visual)
    mine, theirs = read.visual, encoded.visual
    torch.testing.assert_close(mine.embeds, theirs.embeds, rtol=0, atol=1e-5)
    for layer, other in zip(mine.deep, theirs.deep, strict=True):
        torch.testing.assert_close(layer, other, rtol=0, atol=1e-5)
    assert torch.equal(mine.slot, theirs.slot)
    assert torch.equal(mine.cell, theirs.cell)
    assert mine.listed == theirs.listed
    for name in theirs.signals:
        torch.testing.assert_close(mine.signals[name], theirs.signals[name], rtol=0, atol=1e-5)
    if mine.box is not None:
        assert torch.equal(mine.box, theirs.box)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.shows("attach")
def test_a_batch_is_read_as_its_rows_are_encoded(vlm, picture, side):
    several = [[picture(90, 40, 0)], [picture(50, 50, 1), picture(64, 96, 2)], [picture(40, 70, 3)]]
    media = [MediaInput.of(pictures) for pictures in several]
    signals = vlm.family.signals(vlm.model)
    read = vlm.read(batched(vlm, media, QUESTIONS, side), signals=signals)
    for mine, one, question in zip(read, media, QUESTIONS, strict=True):
        assert_same(mine, vlm.encode(one, question, signals=signals))


@pytest.mark.shows("attach")
def test_one_prompt_is_read_as_it_is_encoded(vlm, media):
    inputs = process(vlm.processor, Conversation.about(MediaInput.of(media), QUESTIONS[0])).inputs
    (read,) = vlm.read(inputs)
    assert_same(read, vlm.encode(media, QUESTIONS[0]))


@pytest.mark.shows("attach")
def test_films_of_several_rows_are_read_as_they_are_encoded(vlm, picture):
    if getattr(vlm.processor, "video_processor", None) is None:
        return  # takes frames as pictures
    films = [Video.of([picture(60, 40, 4 * n + seed) for seed in range(4)], fps=2) for n in range(2)]
    media = [MediaInput.of(film) for film in films]
    alone = [process(vlm.processor, Conversation.about(one, QUESTIONS[0])).inputs for one in media]
    batch = {name: _joined([one[name] for one in alone]) for name in alone[0]}
    for read, film in zip(vlm.read(batch), films, strict=True):
        assert_same(read, vlm.encode(film, QUESTIONS[0]))


@pytest.mark.shows("attach")
def test_a_row_of_text_has_no_visual_tokens(vlm, picture):
    inputs = process(
        vlm.processor, Conversation.about(MediaInput.of(picture(40, 40, 0)), QUESTIONS[0])
    ).inputs
    ids = vlm.processor.tokenizer("what is two and two?", return_tensors="pt")
    longest = max(inputs["input_ids"].shape[1], ids["input_ids"].shape[1])

    def padded(row, name):
        values = row[name] if name in row else torch.zeros_like(row["input_ids"])
        return torch.nn.functional.pad(values, (longest - values.shape[1], 0))

    per_token = ["input_ids", "attention_mask", *vlm.family.per_token]
    per_token += [name for name in ("mm_token_type_ids",) if name in inputs and name not in per_token]
    batch = {**inputs, **{name: torch.cat([padded(ids, name), padded(inputs, name)]) for name in per_token}}
    text, seen = vlm.read(batch)
    assert len(text.visual) == 0
    assert torch.equal(text.sequence["input_ids"], ids["input_ids"][0])
    assert_same(seen, vlm.encode(picture(40, 40, 0), QUESTIONS[0]))
    both = vlm.logits([text, Random(keep=0.5)(seen)])
    torch.testing.assert_close(both[:1], vlm.logits([text]), rtol=0, atol=1e-5)


def as_read(vlm, text):
    """A text as it comes back from the tokenizer: that of Qwen3.5 makes other words of ours."""
    tokenizer = vlm.processor.tokenizer
    return tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]).strip()


@pytest.mark.shows("attach")
def test_the_question_is_told_from_the_tokens(vlm, picture):
    media = [MediaInput.of([picture(40, 40, seed)]) for seed in range(2)]
    inputs = batched(vlm, media, QUESTIONS[:2], "left")
    assert last_questions(vlm.processor, inputs) == [as_read(vlm, text) for text in QUESTIONS[:2]]


@pytest.mark.shows("attach")
def test_the_last_of_several_questions_is_the_question(vlm, picture):
    if not vlm.processor.chat_template:
        return
    turns = [("what is it?", "a cat")]
    inputs = process(
        vlm.processor, Conversation.about(MediaInput.of(picture(40, 40, 0)), QUESTIONS[1], turns)
    ).inputs
    assert last_questions(vlm.processor, inputs) == [as_read(vlm, QUESTIONS[1])]


@pytest.mark.shows("attach")
def test_labels_stay_beside_their_tokens(vlm, picture):
    inputs = dict(
        process(vlm.processor, Conversation.about(MediaInput.of(picture(40, 40, 0)), QUESTIONS[0])).inputs
    )
    inputs["labels"] = torch.arange(inputs["input_ids"].shape[1])[None]
    (prompt,) = vlm.read(inputs)
    kept = Random(keep=0.3)(prompt)
    expected = inputs["labels"][0][kept.is_kept()]
    assert torch.equal(kept.inputs()["labels"][0], expected)
