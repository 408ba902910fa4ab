"""Prefix cache: answers against those asked for one by one, and what the language model reads for them."""

from dataclasses import replace

import pytest
import torch
from transformers import LlavaForConditionalGeneration, MistralConfig

from wordsight.models import vlm
from wordsight.models.load_options import GenerationOptions, LoadOptions
from wordsight.models.memory import row_bytes
from wordsight.models.vlm import VLM
from wordsight.pruners.uniform import Uniform
from wordsight.synthetic.scenes import render

WORDS = ("cat", "sky", "what is at the left of the image", "dog", "two", "is there a car or a bus")
QUESTIONS = [f"{word}{end}" for word in WORDS for end in ("?", " here?")]
NEW = 5


def asked(vlm, counts):
    """The first so many questions about each picture, one after the other."""
    prompts = []
    for seed, count in enumerate(counts):
        visual, image = None, render(seed).image
        for question in QUESTIONS[:count]:
            prompts.append(vlm.encode(image, question, visual=visual))
            visual = prompts[-1].visual
    return prompts


def alone(vlm, prompts):
    return [vlm.generate([prompt], max_new_tokens=NEW)[0] for prompt in prompts]


@pytest.mark.parametrize("counts", [(1,), (3,), (12,), (1, 3, 12), (1, 1, 1), (12, 1, 3)])
def test_answers_are_those_asked_for_one_by_one(embedded, counts):
    prompts = asked(embedded, counts)
    answers = embedded.answers(prompts, NEW)
    assert answers == alone(embedded, prompts)
    assert len(set(answers)) >= max(counts) / 3


def test_questions_about_a_picture_that_comes_again_begin_with_what_they_share(embedded):
    *first, other, another = asked(embedded, (6, 2))
    prompts = [first[0], first[2], other, another, *first[4:]]
    assert embedded.answers(prompts, NEW) == alone(embedded, prompts)


@pytest.mark.parametrize("positions", ["original", "contiguous"])
def test_answers_of_pruned_prompts_are_those_asked_for_one_by_one(embedded, positions):
    pruner = Uniform(keep=0.2, positions=positions)
    prompts = asked(embedded, (3, 2))
    kept = {id(prompt.visual): pruner.prune(prompt.visual) for prompt in prompts}
    pruned = [pruner.apply(prompt, kept[id(prompt.visual)]) for prompt in prompts]
    assert embedded.answers(pruned, NEW) == alone(embedded, pruned)


def test_what_questions_about_a_picture_begin_with_is_read_once(tiny, passes):
    prompts = asked(tiny, (12, 12))
    tiny.answers(prompts, 1)
    (pictures, beginning), (questions, rest) = passes
    assert (pictures, questions) == (2, 24)
    assert beginning > 144
    assert beginning + rest == max(prompt.length for prompt in prompts)


def test_prompts_with_visual_tokens_of_their_own_are_read_whole(tiny, passes):
    prompts = [replace(prompt, visual=prompt.visual.take(torch.arange(9))) for prompt in asked(tiny, (3,))]
    tiny.answers(prompts, 1)
    assert passes == [(3, max(prompt.length for prompt in prompts))]


def test_what_times_an_answer_reads_every_prompt_whole(tiny, passes):
    picture = render(0).image
    tiny.answer([picture, picture], QUESTIONS[:2], max_new_tokens=1)
    tiny.generate(asked(tiny, (2,)), max_new_tokens=1)
    assert [rows for rows, _ in passes] == [2, 2]


@pytest.mark.parametrize("limit", ["pass_tokens", "pass_bytes"])
def test_a_pass_of_few_prompts_changes_no_answer(tiny, limit):
    prompts = asked(tiny, (5, 1, 4))
    longest = max(prompt.length for prompt in prompts)
    few = 3 * row_bytes(tiny.model.config, longest, longest, itemsize=4)
    for most in (1, {"pass_tokens": 100, "pass_bytes": few}[limit]):
        narrow = VLM(tiny.model, tiny.processor, "tiny", **{limit: most})
        assert narrow.answers(prompts, NEW) == tiny.answers(prompts, NEW)


def test_questions_that_share_a_picture_fill_a_pass_by_what_they_read(tiny, passes):
    prompts = asked(tiny, (12,))
    longest = max(prompt.length for prompt in prompts)
    VLM(tiny.model, tiny.processor, "tiny", pass_tokens=4 * longest).answers(prompts, 1)
    assert [rows for rows, _ in passes] == [1, 12]


def test_drawn_answers_depend_on_no_other_way_of_reading(tiny, passes):
    options = LoadOptions(generation=GenerationOptions(temperature=1.0, seed=3))
    prompts = asked(tiny, (3,))
    VLM(tiny.model, tiny.processor, "tiny", options=options).answers(prompts, 1)
    assert passes == [(3, max(prompt.length for prompt in prompts))]


def test_a_model_that_forgets_what_leaves_a_window_reads_every_prompt_whole(tiny, passes, monkeypatch):
    layers = {"sliding_window": 64, "layer_types": ["full_attention", "sliding_attention"]}
    for name, value in layers.items():
        monkeypatch.setattr(tiny.model.config.text_config, name, value, raising=False)
    prompts = asked(tiny, (3,))
    tiny.answers(prompts, 1)
    assert passes == [(3, max(prompt.length for prompt in prompts))]


def test_within_a_window_what_questions_begin_with_is_read_once(tiny, monkeypatch):
    torch.manual_seed(0)
    config = tiny.model.config.from_dict(tiny.model.config.to_dict())
    text = {**config.text_config.to_dict(), "sliding_window": 200}
    config.text_config = MistralConfig(**{name: each for name, each in text.items() if name != "model_type"})
    windowed = VLM(LlavaForConditionalGeneration(config).float(), tiny.processor, "windowed")
    prompts, shared, read = asked(windowed, (3, 2)), [], vlm.read_beginning
    longest = max(prompt.length for prompt in prompts)
    assert 150 < longest < 190
    expected = alone(windowed, prompts)
    monkeypatch.setattr(vlm, "read_beginning", lambda *given: shared.append(1) or read(*given))
    assert windowed.answers(prompts, NEW) == expected
    assert len(shared) == 1
    windowed.answers(prompts, 200 - longest)
    assert len(shared) == 1
