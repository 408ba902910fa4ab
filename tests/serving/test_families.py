"""Tiny models with random weights of every architecture, each behind a server of its own."""

import json

import checkpoints
import pytest
import torch
import transformers as hf
from asking import FPS, Reference, equal, request, serving

from wordsight import Video

pytestmark = pytest.mark.timeout(1800)
SIZES = [(48, 32), (64, 96), (80, 80), (32, 64), (96, 48)]
QUESTIONS = ("what color is the cat?", "where is the car?")
M_ROPE = ("qwen2_5_vl", "qwen3_vl")
FILMS = ("qwen2_5_vl", "llava_onevision")
WIDTH, HEADS = 64, 2  # vLLM's attention wants heads of 32 dimensions


def save(family, folder):
    """Write a checkpoint whose heads are as wide as vLLM wants them."""
    config, processor = getattr(checkpoints, family)()
    text = config.text_config
    sizes = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "num_key_value_heads": HEADS}
    for name, value in {**sizes, "head_dim": WIDTH // HEADS}.items():
        setattr(text, name, value)
    if family in M_ROPE:
        text.rope_parameters |= {"mrope_section": [6, 5, 5], "mrope_interleaved": family == "qwen3_vl"}
        config.vision_config.out_hidden_size = WIDTH
    torch.manual_seed(0)
    model = hf.AutoModelForImageTextToText.from_config(config).float()
    checkpoints.initialize(model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


@pytest.fixture(
    scope="module", params=["qwen2_5_vl", "llava_next", "llava_onevision", "qwen3_vl", "internvl"]
)
def pair(request, tmp_path_factory):
    """The name of a family, a server of its checkpoint, and what transformers makes of it."""
    folder = tmp_path_factory.mktemp(request.param)
    save(request.param, folder)
    specs = ("--pruner", "divprune:keep=0.3", "--pruner", "tome:keep=0.5", "--pruner", "uniform:tokens=5")
    options = ("--max-num-batched-tokens", "96", "--limit-mm-per-prompt", json.dumps({"image": 2}))
    with serving(folder, *specs, "--per-request", options=options) as server:
        yield request.param, server, Reference(folder)


@pytest.fixture(scope="module")
def questions(noise):
    """Two questions about each of twenty pictures of five sizes."""
    pictures = [noise(number, *SIZES[number % len(SIZES)]) for number in range(20)]
    return [([picture], question) for picture in pictures for question in QUESTIONS]


def assert_answers_are_those_of_transformers(pair, questions, unchanged):
    """Whole, and by every pruner and policy, each of which leaves fewer than so many answers as they were."""
    family, server, reference = pair
    prompts = reference.prompts(questions)
    whole = reference.answers(prompts, "none")
    assert equal(server.answers(questions, wordsight={"pruner": "none"}), whole) == len(questions)
    for spec in ("divprune:keep=0.3", "tome:keep=0.5", "uniform:tokens=5"):
        for positions in ["original"] + ["contiguous"] * (family not in M_ROPE):
            expected = reference.answers(prompts, f"{spec},positions={positions}")
            asked = {"pruner": spec, "positions": positions}
            assert equal(server.answers(questions, wordsight=asked), expected) == len(questions), (
                spec,
                positions,
            )
            assert equal(whole, expected) < unchanged


def test_answers_are_those_of_transformers(pair, questions):
    assert_answers_are_those_of_transformers(pair, questions, len(questions) / 2)


def test_each_of_two_pictures_has_a_budget(pair, questions):
    family, server, reference = pair
    pairs = [(questions[n][0] + questions[n + 2][0], questions[n][1]) for n in range(0, 16, 2)]
    if family == "llava_onevision":  # of several, its processor makes no tiles, for which vLLM leaves room
        assert server.send(request(*pairs[0]))[0] == 400
        return
    expected = reference.answers(reference.prompts(pairs), "divprune:keep=0.3")
    assert equal(server.answers(pairs), expected) == len(pairs)


def test_contiguous_positions_are_refused_where_there_are_none(pair, questions):
    family, server, _ = pair
    status, _ = server.send(request(*questions[0], wordsight={"positions": "contiguous"}))
    assert status == (400 if family in M_ROPE else 200)


def test_answers_about_films_are_those_of_transformers(pair, noise):
    family, server, _ = pair
    films = [
        Video.of([noise(100 + 8 * number + frame, *SIZES[number]) for frame in range(6)], fps=FPS)
        for number in range(len(SIZES))
    ]
    questions = [([film], question) for film in films for question in QUESTIONS]
    if family not in FILMS:
        status, answer = server.send(request(*questions[0]))
        assert (status, "video" in answer["error"]["message"]) == (400, True)
        return
    assert_answers_are_those_of_transformers(pair, questions, len(questions))
