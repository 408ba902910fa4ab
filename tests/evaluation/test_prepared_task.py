"""Prepared tasks: scores against answers one by one, intervals against slow loops and worked-out cases."""

import random
import statistics
from dataclasses import dataclass, replace

import numpy as np
import pytest

from wordsight.errors import UsageError
from wordsight.evaluation.prepared_task import PreparedTask, scores_of, seeded
from wordsight.models.vlm import VLM
from wordsight.pruners.divprune import DivPrune
from wordsight.pruners.random import Random
from wordsight.pruners.uniform import Uniform
from wordsight.synthetic.scenes import render
from wordsight.tasks.base import Example, Task

PICTURES = [render(seed).image for seed in range(2)]


def about(*picture_ids):
    """A prepared task of a question about each of these pictures, that nobody has answered."""
    examples = [Example("x.png", str(name), "?", "yes", "any") for name in picture_ids]
    return PreparedTask(None, None, examples, [])


def slow_interval(scores, names, level, resamples=2000):
    """Draw pictures with replacement, take the mean over all of their questions, sort, cut."""
    draw = random.Random(1)
    groups = [
        [score for score, name in zip(scores, names, strict=True) if name == one]
        for one in sorted(set(names))
    ]
    means = sorted(
        statistics.fmean(score for group in draw.choices(groups, k=len(groups)) for score in group)
        for _ in range(resamples)
    )
    return means[int((1 - level) / 2 * resamples)], means[int((1 + level) / 2 * resamples)]


@pytest.mark.parametrize("level", [0.5, 0.95, 0.975])
@pytest.mark.parametrize("seed", range(3))
def test_the_interval_is_that_of_a_slow_bootstrap_over_pictures(seed, level):
    rng = np.random.default_rng(seed)
    names = np.repeat(np.arange(100), rng.integers(1, 9, 100))
    scores = (rng.random(len(names)) < rng.random(100)[names]).astype(float)
    expected = slow_interval(scores.tolist(), names.tolist(), level)
    assert about(*names).interval(scores, level=level) == pytest.approx(expected, abs=0.02)


def test_the_interval_is_of_95_percent_if_nothing_is_said():
    rng = np.random.default_rng(0)
    scores, prepared = rng.random(30), about(*range(30))
    assert prepared.interval(scores) == prepared.interval(scores, level=0.95)


@pytest.mark.parametrize(("level", "quantile"), [(0.5, 1.0), (0.2, 0.32492)])
def test_the_interval_of_two_pictures_is_worked_out(level, quantile):
    """The error of the mean of 0 and 1 is a half."""
    found = about(0, 0, 1, 1).interval(np.array([0.0, 0, 1, 1]), level=level)
    assert found == pytest.approx((0.5 - quantile / 2, 0.5 + quantile / 2), abs=1e-4)


def test_the_interval_of_independent_scores_is_that_of_the_normal_distribution():
    low, high = about(*range(400)).interval(np.array([0.0, 1.0] * 200))
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.025, 0.5 + 1.96 * 0.025), abs=1e-3)


def test_questions_about_one_picture_do_not_narrow_the_interval():
    low, high = about(*np.repeat(range(20), 10)).interval(np.array([0.0] * 100 + [1.0] * 100))
    assert high - low == pytest.approx(2 * 2.093 * 0.5 / 19**0.5, abs=1e-4)


def test_the_interval_does_not_depend_on_the_order_of_the_questions():
    scores, names = np.array([0.0, 1, 1, 0, 1, 0]), [0, 0, 1, 1, 2, 2]
    order = [4, 1, 5, 0, 3, 2]
    assert about(*(names[i] for i in order)).interval(scores[order]) == about(*names).interval(scores)


@dataclass(kw_only=True)
class Lengths(Task):
    """Three questions about one picture, three about two in one prompt; the score is the length said."""

    max_new_tokens = 3

    def examples(self):
        for number, images in enumerate((PICTURES[0], PICTURES)):
            for word in ("cat", "sky", "what is at the left of the image"):
                yield Example(images, str(number), f"{word}?", "any", "any")

    def score(self, example, said):
        return len(said) / 40


EXAMPLES = Lengths().first(None)


@pytest.fixture(scope="module")
def prepared(tiny):
    return PreparedTask.of(tiny, Lengths(), EXAMPLES)


def one_by_one(vlm, pruner):
    said = [
        vlm.answer(example.images, example.question, pruner=pruner, max_new_tokens=3).text
        for example in EXAMPLES
    ]
    return [len(text) / 40 for text in said]


class Nothing(Uniform):
    def select(self, tokens):
        return tokens.take(tokens.slot[:0])


def test_whole_and_blind_are_the_scores_with_all_tokens_and_with_none(tiny, prepared):
    assert prepared.whole.tolist() == one_by_one(tiny, None)
    assert prepared.blind.tolist() == one_by_one(tiny, Nothing())


def test_a_run_scores_every_question_as_if_it_were_asked_alone(tiny, prepared):
    pruner = Uniform(keep=0.1, positions="contiguous")
    scores, kept = prepared.run(pruner)
    assert scores.tolist() == one_by_one(tiny, pruner)
    assert kept == (3 * 14 + 3 * 29) / 6


def test_the_scores_of_the_made_up_task_tell_pruners_apart(prepared):
    assert prepared.run(DivPrune(tokens=5))[0].tolist() != prepared.whole.tolist()


def test_random_tokens_are_drawn_with_three_seeds_and_averaged(tiny, prepared):
    each = [one_by_one(tiny, Random(keep=0.1, seed=seed)) for seed in range(3)]
    assert prepared.run(Random(keep=0.1))[0].tolist() == pytest.approx(np.mean(each, 0).tolist())


def test_only_a_pruner_that_draws_is_seeded():
    assert seeded(DivPrune(tokens=7)) == [DivPrune(tokens=7)]
    assert seeded(Random(tokens=7, seed=9)) == [Random(tokens=7, seed=seed) for seed in range(3)]


def test_the_size_of_a_pass_changes_no_score(tiny, prepared):
    for pass_tokens in (1, 400):
        narrow = replace(prepared, vlm=VLM(tiny.model, tiny.processor, "tiny", pass_tokens=pass_tokens))
        assert narrow.run(Uniform(keep=0.5))[0].tolist() == prepared.run(Uniform(keep=0.5))[0].tolist()


def test_every_picture_is_seen_once(tiny):
    seen = []
    hook = tiny.model.model.vision_tower.register_forward_hook(lambda *_: seen.append(1))
    PreparedTask.of(tiny, Lengths(), EXAMPLES)
    hook.remove()
    assert len(seen) == 2


def test_every_picture_is_pruned_once(prepared):
    pruned = []

    class Noted(Uniform):
        def select(self, tokens):
            pruned.append(len(tokens))
            return super().select(tokens)

    prepared.run(Noted(keep=0.1))
    assert pruned == [144, 288]


def test_signals_are_collected_where_they_are_named(tiny, prepared):
    with_signal = PreparedTask.of(tiny, Lengths(), EXAMPLES[:1], signals=frozenset({"cls_attention"}))
    assert set(with_signal.prompts[0].visual.signals) == {"cls_attention"}
    assert not prepared.prompts[0].visual.signals


@pytest.mark.parametrize("score", [-0.1, 1.5, float("nan"), float("inf")])
def test_a_score_that_is_none_is_refused(score):
    class Odd(Lengths):
        def score(self, example, said):
            return score

    with pytest.raises(UsageError, match=r"Odd scores an answer .*; expected a number from 0 to 1"):
        scores_of(Odd(), EXAMPLES[:1], ["cat"])
