"""What is longer than the model's context is refused before a pass of the model, with what would fit."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig

from wordsight import DivPrune, Uniform, UsageError, Video
from wordsight.media.inputs import MediaInput
from wordsight.models.context import PromptLength, check_length, context_length
from wordsight.models.conversation import Conversation
from wordsight.models.preflight import Preflight

QUESTION = "what is the background?"


@pytest.fixture
def short(tiny, monkeypatch):
    """The tiny model, made for 700 positions: four of its pictures, of 144 tokens and 3 beside them each."""
    monkeypatch.setattr(tiny.model.config.text_config, "max_position_embeddings", 700)
    return tiny


@pytest.fixture
def no_pass(tiny, monkeypatch):
    """Neither the vision tower nor the language model may run."""
    for module in (tiny.model.model.vision_tower, tiny.model.model.language_model):
        monkeypatch.setattr(module, "forward", lambda *given, **named: pytest.fail("the model ran"))


def refusal(work):
    with pytest.raises(UsageError) as refused:
        work()
    return str(refused.value)


def test_too_many_pictures_are_refused_before_the_tower_runs(short, picture, no_pass):
    length = short.length_of(
        short.process(Conversation.about(MediaInput.of([picture] * 60), QUESTION), new_tokens=None)
    )
    assert refusal(lambda: short.answer([picture] * 60, QUESTION)) == (
        f"the prompt takes {length.positions:,} positions and its answer up to 64 more, but tiny was made "
        "for 700: give fewer pictures (3 of 60 fit), or prune with keep=0.05 and positions=contiguous "
        "(at original positions, dropping tokens makes no room)"
    )


def test_frames_are_called_so_where_the_model_takes_them_as_pictures(short, picture):
    video = Video.of([picture] * 60)
    assert "give fewer frames (3 of 60 fit)" in refusal(lambda: short.answer(video, QUESTION))


@pytest.mark.parametrize("media", ["pictures", "video"])
def test_as_many_as_are_said_to_fit_are_answered(short, picture, media):
    def made(count):
        return [picture] * count if media == "pictures" else Video.of([picture] * count)

    fitting = int(re.search(r"\((\d+) of 9 fit\)", refusal(lambda: short.answer(made(9), QUESTION)))[1])
    assert fitting in (3, 4)
    assert short.answer(made(fitting), QUESTION).tokens_total == fitting * 144


def test_the_last_position_counts_and_one_more_is_too_many(short, picture):
    length = short.length_of(
        short.process(Conversation.about(MediaInput.of(picture), QUESTION), new_tokens=None)
    )
    room = 700 - length.positions
    assert length.positions == len(short.encode(picture, QUESTION).is_visual)
    assert short.answer(picture, QUESTION, max_new_tokens=room).tokens_total == 144
    assert f"let max_new_tokens be {room}" in refusal(
        lambda: short.answer(picture, QUESTION, max_new_tokens=room + 1)
    )


def test_dropping_tokens_makes_no_room_but_closing_the_gaps_does(short, picture):
    pictures = [picture] * 6
    said = refusal(lambda: short.answer(pictures, QUESTION, pruner=Uniform(keep=0.1)))
    assert "at original positions, dropping tokens makes no room" in said
    keep = float(re.search(r"keep=([\d.]+) and positions=contiguous", said)[1])
    fits = Uniform(keep=keep, positions="contiguous")
    assert short.answer(pictures, QUESTION, pruner=fits).tokens_kept == fits.count(range(6 * 144))
    too_many = Uniform(keep=keep + 0.02, positions="contiguous")
    assert "was made for 700" in refusal(lambda: short.answer(pictures, QUESTION, pruner=too_many))


def test_the_turns_of_a_chat_add_up(short, picture, monkeypatch):
    chat = short.chat([picture] * 3, pruner=DivPrune(tokens=9))
    asked = []
    while len(asked) < 30:
        try:
            asked.append(chat.ask(QUESTION * 4, max_new_tokens=8))
        except UsageError as error:
            assert f"with {len(asked)} earlier turns" in str(error)  # noqa: PT017  # it has to come some time
            assert "begin a new chat" in str(error)  # noqa: PT017
            break
    assert 2 < len(asked) < 30
    assert len(chat.turns) == len(asked)


def test_a_long_question_is_to_be_shorter(short, picture, no_pass):
    said = refusal(lambda: short.answer(picture, QUESTION * 200))
    assert re.search(r"700: ask something shorter \(the text alone takes [\d,]+\)$", said)


def test_the_second_of_a_list_is_refused_before_the_first_is_answered(short, picture, no_pass):
    said = refusal(lambda: short.answer([picture, [picture] * 9], [QUESTION, QUESTION]))
    assert said.startswith("question 2: the prompt takes 1,3")


@pytest.mark.parametrize("verb", ["generate", "logits"])
def test_a_prompt_that_was_encoded_is_refused_too(short, picture, verb):
    prompt = short.encode([picture] * 6, QUESTION)
    assert "made for 700" in refusal(lambda: getattr(short, verb)([prompt]))
    assert len(getattr(short, verb)([Uniform(tokens=50, positions="contiguous")(prompt)])) == 1


def test_a_model_that_states_no_limit_is_not_checked(short, picture, monkeypatch):
    monkeypatch.setattr(short.model.config.text_config, "max_position_embeddings", 0)
    assert short.answer([picture] * 6, QUESTION, max_new_tokens=2).tokens_total == 6 * 144


def test_preflight_counts_what_the_processor_counts(short, picture):
    """Pictures of a size that was seen are not processed again: only the text is counted."""
    preflight = Preflight(short)
    small = picture.resize((50, 90))
    for media in ([picture], [picture, small], [small, picture], [picture]):
        for question in (QUESTION, "is there a cat? " * 5, "a"):
            opened = MediaInput.of(media)
            length = short.length_of(short.process(Conversation.about(opened, question), new_tokens=None))
            preflight.check(Conversation.about(opened, question), 700 - length.positions)
            with pytest.raises(UsageError, match="made for 700"):
                preflight.check(Conversation.about(opened, question), 701 - length.positions)
    assert len(preflight._known) == 3


def test_preflight_names_the_turns_of_the_question_and_not_of_one_before(short, picture):
    preflight, media = Preflight(short), MediaInput.of(picture)
    preflight.check(Conversation.about(media, QUESTION, [(QUESTION, "a cat")]), 1)
    for turns, said in (([], "the prompt takes"), ([(QUESTION, "a")] * 2, "the prompt with 2 earlier turns")):
        assert refusal(
            lambda turns=turns: preflight.check(Conversation.about(media, QUESTION, turns), 700)
        ).startswith(said)


def test_positions_of_several_axes_count_by_the_largest():
    """M-RoPE: a picture of 3 x 40 tokens takes 40 positions; the first axis only counts tokens."""
    places = torch.cat([torch.arange(3), torch.full((120,), 3), torch.arange(43, 46)])
    positions = torch.stack([torch.arange(126), places, places, places])
    is_visual = torch.zeros(126, dtype=torch.bool)
    is_visual[3:123] = True
    length = PromptLength.of(positions, is_visual, item="frame", items=4)
    assert length == PromptLength(46, 6, 120, True, "frame", 4)
    config = LlamaConfig(max_position_embeddings=50)
    check_length("m", config, length, 4)
    with pytest.raises(UsageError) as refused:
        check_length("m", config, length, 5)
    assert str(refused.value) == (
        "the prompt takes 46 positions and its answer up to 5 more, but m was made for 50: "
        "give fewer frames (3 of 4 fit), or let max_new_tokens be 4"
    )


@pytest.mark.parametrize(
    ("stated", "rope", "context"),
    [
        (4096, None, 4096),
        (4096, {"rope_type": "default"}, 4096),
        (4096, {"rope_type": "linear", "factor": 4.0}, 16384),
        (4096, {"rope_type": "dynamic", "factor": 2.0}, 8192),
        (32768, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, 131072),
        (163840, {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096}, 163840),
        (131072, {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}, 131072),
        (131072, {"full_attention": {"rope_type": "linear", "factor": 8.0}}, 131072),
        (None, None, None),
        (0, None, None),
    ],
)
def test_the_context_is_what_the_positions_were_stretched_to(stated, rope, context):
    text = SimpleNamespace(max_position_embeddings=stated, rope_parameters=rope)
    assert context_length(SimpleNamespace(get_text_config=lambda: text)) == context


def test_probes_of_single_tokens_need_no_more_room_than_they_take(short, picture):
    from wordsight import probe_tokens

    prompt = short.encode([picture] * 6, QUESTION)
    few = replace(prompt, visual=prompt.visual.take(torch.arange(3)))
    assert len(probe_tokens(short, few).words) == 3
