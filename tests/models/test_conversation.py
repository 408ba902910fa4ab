"""Hugging Face messages: a system text, several turns, pictures anywhere."""

import base64
from io import BytesIO

import pytest
import torch

from wordsight import DivPrune, UsageError
from wordsight.media.video import Sampling
from wordsight.models.conversation import Conversation
from wordsight.models.processing import prompt_text

QUESTION = "what color is the cat?"


def message(role, *parts):
    return {
        "role": role,
        "content": [{"type": "text", "text": one} if isinstance(one, str) else one for one in parts],
    }


def without_picture(part):
    return {name: value for name, value in part.items() if name in ("type", "text")}


def shown(picture):
    return {"type": "image", "image": picture}


def test_one_question_is_that_of_encode(tiny, picture):
    read = tiny.encode_messages([message("user", shown(picture), QUESTION)])
    expected = tiny.encode(picture, QUESTION)
    assert torch.equal(read.sequence["input_ids"], expected.sequence["input_ids"])
    assert torch.equal(read.visual.embeds, expected.visual.embeds)


def test_turns_are_those_of_encode(tiny, picture):
    read = tiny.encode_messages(
        [
            message("user", shown(picture), "what is it?"),
            {"role": "assistant", "content": "a cat"},
            message("user", QUESTION),
        ]
    )
    expected = tiny.encode(picture, QUESTION, turns=[("what is it?", "a cat")])
    assert torch.equal(read.sequence["input_ids"], expected.sequence["input_ids"])


def test_pictures_stay_where_they_are_and_the_template_gets_all_of_it(tiny, picture):
    messages = [
        message("system", "be brief"),
        message("user", "one", shown(picture), "two", shown(picture.rotate(90))),
        message("assistant", "yes"),
        message("user", QUESTION, shown(picture)),
    ]
    bare = [
        {
            **one,
            "content": [without_picture(part) for part in one["content"]],
        }
        for one in messages
    ]
    conversation = Conversation.of(messages)
    expected = tiny.processor.apply_chat_template(bare, add_generation_prompt=True)
    assert prompt_text(tiny.processor, conversation) == expected
    assert len(conversation.media.pictures) == 3
    assert conversation.media.pictures[1].tobytes() == picture.rotate(90).tobytes()
    assert len(tiny.encode_messages(messages).visual) == 3 * 144


@pytest.mark.parametrize("form", ["path", "image", "url", "data", "base64", "openai"])
def test_a_picture_is_read_in_every_form(tiny, picture, tmp_path, form):
    file = tmp_path / "p.png"
    picture.save(file)
    data = BytesIO()
    picture.save(data, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
    part = {
        "path": {"type": "image", "path": str(file)},
        "image": {"type": "image", "image": file},
        "url": {"type": "image", "url": f"file://{file}"},
        "data": {"type": "image", "url": url},
        "base64": {"type": "image", "base64": url.partition(",")[2]},
        "openai": {"type": "image_url", "image_url": {"url": url}},
    }[form]
    (opened,) = Conversation.of([message("user", part, QUESTION)]).media.pictures
    assert opened.tobytes() == picture.convert("RGB").tobytes()


def test_a_film_may_be_a_list_of_its_frames(picture, tmp_path):
    file = tmp_path / "p.png"
    picture.save(file)
    frames = {"type": "video", "video": [picture.rotate(90), file]}
    (film,) = Conversation.of([message("user", frames, QUESTION)]).media.videos
    assert [one.tobytes() for one in film.frames] == [picture.rotate(90).tobytes(), picture.tobytes()]


def test_a_part_is_a_film_or_a_picture_by_its_content(tiny, picture, tmp_path):
    picture.save(tmp_path / "film.gif", save_all=True, append_images=[picture.rotate(90)], duration=500)
    picture.save(tmp_path / "picture.png")
    film = {"type": "image", "path": tmp_path / "film.gif"}
    still = {"type": "video", "path": tmp_path / "picture.png"}
    conversation = Conversation.of([message("user", film, still, QUESTION)])
    kinds = [part["type"] for part in conversation.messages[0]["content"]]
    assert kinds == ["video", "image", "text"]
    assert len(tiny.encode_messages([message("user", film, still, QUESTION)]).visual) == 3 * 144


WRONG = {
    "no list": ("what?", "must be a list"),
    "none": ([], "must be a list"),
    "no role": ([{"content": "what?"}], "message 1: expected .*'role'"),
    "another role": ([message("tool", "what?")], "'system' or 'user' or 'assistant'"),
    "a number": ([{"role": "user", "content": 5}], "message 1: expected .*'role'"),
    "an unknown part": ([message("user", {"type": "audio", "audio": "a.wav"}, "what?")], "a part must be"),
    "pictures in one part": ([message("user", {"type": "image", "image": ["a.png"]}, "x")], "got list"),
    "no picture": ([message("user", {"type": "image"}, "what?")], "message 1: a part must be"),
    "a broken data URL": (
        [message("user", {"type": "image", "url": "data:image/png;base64,?"})],
        "a data URL",
    ),
    "no file": ([message("user", {"type": "image", "path": "none.png"}, "what?")], "message 1: .*none.png"),
    "the answer last": (
        [message("user", "what?"), message("assistant", "x")],
        "last message must be",
    ),
    "no text": ([message("user", {"type": "text", "text": " "})], "last message must be"),
}


@pytest.mark.parametrize(("messages", "said"), WRONG.values(), ids=WRONG)
def test_what_is_no_conversation_is_refused_by_a_sentence(messages, said):
    with pytest.raises(UsageError, match=said):
        Conversation.of(messages)


def test_frames_are_asked_of_films_alone(picture):
    with pytest.raises(UsageError, match="frames and fps are for videos"):
        Conversation.of([message("user", shown(picture), QUESTION)], Sampling(frames=2))


def test_a_control_token_in_a_system_text_is_refused(tiny, picture):
    with pytest.raises(UsageError, match="the system text holds"):
        tiny.encode_messages([message("system", "</s>"), message("user", shown(picture), QUESTION)])


def test_a_chat_goes_on_from_messages(tiny, picture):
    pruner = DivPrune(tokens=20)
    chat = tiny.chat(
        messages=[
            message("user", shown(picture), "what is it?"),
            message("assistant", "grass"),
            message("user", QUESTION),
        ],
        pruner=pruner,
    )
    first = chat.answer(max_new_tokens=3)
    turns = [("what is it?", "grass")]
    alone = tiny.encode(picture, QUESTION, turns=turns)
    assert first.text == tiny.generate([pruner(alone)], max_new_tokens=3)[0]
    second = chat.ask("and the dog?", max_new_tokens=3)
    alone = tiny.encode(picture, "and the dog?", turns=[*turns, (QUESTION, first.text)])
    assert second.text == tiny.generate([pruner(alone)], max_new_tokens=3)[0]
    assert (first.tokens_total, first.tokens_kept) == (144, 20)


def test_another_question_before_that_of_the_messages_is_refused(tiny, picture):
    chat = tiny.chat(messages=[message("user", shown(picture), QUESTION)])
    with pytest.raises(UsageError, match=r"answer\(\) answers it"):
        chat.ask("and the dog?")


def test_messages_and_media_together_are_refused(tiny, picture):
    with pytest.raises(UsageError, match="give no others"):
        tiny.chat(picture, messages=[message("user", shown(picture), QUESTION)])


def test_answering_without_an_open_question_is_refused(tiny, picture):
    with pytest.raises(UsageError, match=r"use ask"):
        tiny.chat(picture).answer()
