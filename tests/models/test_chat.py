"""Chat and batches on the tiny model: pictures encoded once, turns in the prompt, answers one by one."""

import pytest
from PIL import Image

from wordsight import UsageError, Video
from wordsight.pruners.divprune import DivPrune

FIRST, SECOND = "what is the background?", "is there a cat?"


def test_turns_are_in_the_prompt(tiny, picture):
    prompt = tiny.encode(picture, SECOND, turns=[(FIRST, "grass")])
    text = tiny.processor.decode(prompt.sequence["input_ids"][~prompt.is_visual])
    assert text.index("what is the background") < text.index("grass") < text.index("is there a cat")
    assert int(prompt.is_visual.sum()) == 144


def test_a_chat_remembers_its_turns(tiny, picture):
    chat = tiny.chat(picture, pruner=DivPrune(tokens=20))
    first = chat.ask(FIRST, max_new_tokens=3)
    chat.ask(SECOND, max_new_tokens=3)
    assert [turn[0] for turn in chat.turns] == [FIRST, SECOND]
    assert chat.turns[0][1] == first.text
    alone = tiny.encode(picture, SECOND, turns=[(FIRST, first.text)])
    assert chat.turns[1][1] == tiny.generate([DivPrune(tokens=20)(alone)], max_new_tokens=3)[0]


def test_the_first_answer_of_a_chat_is_an_answer(tiny, picture):
    said = tiny.chat(picture).ask(FIRST, max_new_tokens=4).text
    assert said == tiny.answer(picture, FIRST, max_new_tokens=4).text


@pytest.mark.parametrize("pass_tokens", [1, 400, 100_000])
def test_answers_do_not_depend_on_how_many_fit_into_a_pass(tiny, picture, monkeypatch, pass_tokens):
    monkeypatch.setattr(tiny, "pass_tokens", pass_tokens)
    media = [picture, [picture, picture.rotate(90)], picture]
    asked = [FIRST, SECOND, SECOND]
    found = tiny.answer(media, asked, pruner=DivPrune(keep=0.2), max_new_tokens=3)
    alone = [
        tiny.answer(one, question, pruner=DivPrune(keep=0.2), max_new_tokens=3)
        for one, question in zip(media, asked, strict=True)
    ]
    assert [answer.text for answer in found] == [answer.text for answer in alone]
    assert [answer.tokens_kept for answer in found] == [29, 58, 29]
    assert [answer.tokens_total for answer in found] == [144, 288, 144]


@pytest.mark.parametrize("media", ["one.png", [Image.new("RGB", (9, 9))], []])
def test_as_many_pictures_as_questions_are_needed(tiny, media):
    with pytest.raises(UsageError, match="a list of 2 questions needs a list of as many"):
        tiny.answer(media, [FIRST, SECOND])


def test_a_video_for_a_model_without_is_its_frames(tiny, picture):
    frames = [picture, picture.rotate(90)]
    film = tiny.encode(Video.of(frames), FIRST)
    assert film.sequence["input_ids"].equal(tiny.encode(frames, FIRST).sequence["input_ids"])


@pytest.mark.parametrize("pruner", ["divprune", DivPrune, 3, []])
def test_a_pruner_that_is_no_object_is_refused_in_one_sentence(tiny, picture, pruner):
    with pytest.raises(UsageError, match=r"pruner must be an object, such as DivPrune\(keep=0.2\), got"):
        tiny.chat(picture, pruner=pruner)
