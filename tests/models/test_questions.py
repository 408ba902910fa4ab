"""What is asked has to be text to the tokenizer; what is not is refused before a picture is encoded."""

import copy

import pytest

from wordsight import UsageError
from wordsight.models.questions import check_question, check_text, names_media

FIRST = "what is the background?"


@pytest.fixture
def no_tower(tiny, monkeypatch):
    monkeypatch.setattr(
        tiny.model.model.vision_tower, "forward", lambda *given, **named: pytest.fail("encoded")
    )


def refusal(work):
    with pytest.raises(UsageError) as refused:
        work()
    return str(refused.value)


@pytest.mark.parametrize("mark", ["</s>", "<s>", "<pad>", "<unk>"])
@pytest.mark.parametrize("text", ["{}", "what{}is it?", "{}\nwhat is it?", "is it? {}"])
def test_a_control_token_is_refused_and_named(tiny, picture, no_tower, mark, text):
    said = refusal(lambda: tiny.encode(picture, text.format(mark)))
    assert said.startswith(
        f"the question holds {mark!r}, which the model's tokenizer reads as a control token"
    )


@pytest.mark.parametrize("mark", ["<image>", "<video>"])
def test_the_place_of_a_picture_is_refused_even_where_it_is_no_token(tiny, picture, no_tower, mark):
    said = refusal(lambda: tiny.answer(picture, f"{mark}\nwhat is it?"))
    assert said.startswith(f"the question holds {mark!r}, the place of a picture or film")


def test_the_special_tokens_of_any_tokenizer_are_known(tiny):
    processor = copy.deepcopy(tiny.processor)
    check_text(processor, "what <|im_end|> is it?", "the question")
    processor.tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    assert "'<|im_end|>'" in refusal(lambda: check_question(processor, "what <|im_end|> is it?"))


def test_a_letter_that_serves_as_a_special_token_is_a_letter(tiny):
    """Some checkpoints pad with "!", which has the same id as what is written."""
    processor = copy.deepcopy(tiny.processor)
    before = processor.tokenizer("what is it?", add_special_tokens=False)["input_ids"]
    processor.tokenizer.add_special_tokens({"pad_token": "?"})
    assert processor.tokenizer("what is it?", add_special_tokens=False)["input_ids"] == before
    check_question(processor, "what is it?")


@pytest.mark.parametrize(
    "question",
    ["is 3 < 4?", "what does <b> mean?", "< / s >", "a </p> b", "what is < image >?", "naïve café?"],
)
def test_what_only_looks_like_a_mark_is_text(tiny, picture, question):
    assert len(tiny.encode(picture, question).visual) == 144


@pytest.mark.parametrize("question", ["", " ", "\n\t", "\u00a0"])
def test_an_empty_question_is_refused(tiny, picture, no_tower, question):
    assert refusal(lambda: tiny.answer(picture, question)) == "the question is empty; ask something"


@pytest.mark.parametrize("question", [None, 5, 0.5, b"what?", {"question": FIRST}])
def test_a_question_that_is_no_text_is_refused(tiny, picture, no_tower, question):
    assert refusal(lambda: tiny.encode(picture, question)) == f"the question must be text, got {question!r}"
    assert "must be text" in refusal(lambda: tiny.answer(picture, question))


def test_a_question_that_is_no_unicode_is_refused(tiny, picture, no_tower):
    assert "no text in UTF-8" in refusal(lambda: tiny.answer(picture, "what is \udc80?"))


@pytest.mark.parametrize(
    ("turn", "called"),
    [
        (("what </s>?", "grass"), "an earlier question holds '</s>'"),
        ((FIRST, "grass</s>"), "an earlier answer holds '</s>'"),
        ((" ", "grass"), "an earlier question is empty"),
        ((FIRST, None), "an earlier answer must be text, got None"),
    ],
)
def test_earlier_turns_are_checked_too(tiny, picture, no_tower, turn, called):
    assert refusal(lambda: tiny.encode(picture, FIRST, turns=[turn])).startswith(called)


def test_an_answer_may_be_empty(tiny, picture):
    assert len(tiny.encode(picture, FIRST, turns=[(FIRST, "")]).visual) == 144


def test_the_name_of_a_file_is_no_question(tiny, picture, no_tower):
    said = refusal(lambda: tiny.answer(picture, "photos/b.JPG"))
    assert said.startswith("the question is 'photos/b.JPG', the name of a picture or film")


@pytest.mark.parametrize(
    ("text", "is_name"),
    [
        ("b.jpg", True),
        ("/films/film.mp4", True),
        ("https://example.org/cat", True),
        ("what is in b.jpg", False),
        ("what?", False),
        ("cat", False),
        ("3.5", False),
        ("see https://example.org/cat.png", False),
    ],
)
def test_what_names_media(text, is_name):
    assert names_media(text) is is_name


@pytest.mark.parametrize("count", [0, -1, 2.0, "3", True, 10**25, pytest.param(10**5000, id="vast")])
def test_an_answer_has_a_length(tiny, picture, no_tower, count):
    for work in (
        lambda: tiny.answer(picture, FIRST, max_new_tokens=count),
        lambda: tiny.chat(picture).ask(FIRST, max_new_tokens=count),
        lambda: tiny.generate([], max_new_tokens=count),
    ):
        said = refusal(work)
        assert said.startswith("max_new_tokens must be a whole number in [1, 1000000], got ")
        assert len(said) < 150
