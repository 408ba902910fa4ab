"""Prepared tasks: scores against answers one by one, intervals against slow loops and worked-out cases."""

import random
import statistics
from dataclasses import dataclass, replace

import numpy as np
import pytest

from wordsight.errors import MediaError, UsageError
from wordsight.evaluation.comparison import compare
from wordsight.evaluation.prepared_task import (
    PreparedTask,
    check_examples,
    paired_interval,
    scores_of,
    seeded,
)
from wordsight.media import inputs
from wordsight.media.images import read_picture
from wordsight.media.inputs import MediaInput
from wordsight.models.conversation import Conversation
from wordsight.models.vlm import VLM
from wordsight.pruners.divprune import DivPrune
from wordsight.pruners.random import Random
from wordsight.pruners.uniform import Uniform
from wordsight.synthetic.scenes import render
from wordsight.tasks.base import Example, Task

PICTURES = [render(seed).image for seed in range(2)]


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
    assert paired_interval(scores, names, level) == pytest.approx(expected, abs=0.02)


def test_the_interval_is_of_95_percent_if_nothing_is_said():
    rng = np.random.default_rng(0)
    scores, names = rng.random(30), range(30)
    assert paired_interval(scores, names) == paired_interval(scores, names, 0.95)


@pytest.mark.parametrize(("level", "quantile"), [(0.5, 1.0), (0.2, 0.32492)])
def test_the_interval_of_two_pictures_is_worked_out(level, quantile):
    """The error of the mean of 0 and 1 is a half."""
    found = paired_interval(np.array([0.0, 0, 1, 1]), [0, 0, 1, 1], level)
    assert found == pytest.approx((0.5 - quantile / 2, 0.5 + quantile / 2), abs=1e-4)


def test_the_interval_of_independent_scores_is_that_of_the_normal_distribution():
    low, high = paired_interval(np.array([0.0, 1.0] * 200), range(400))
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.025, 0.5 + 1.96 * 0.025), abs=1e-3)


def test_questions_about_one_picture_do_not_narrow_the_interval():
    low, high = paired_interval(np.array([0.0] * 100 + [1.0] * 100), np.repeat(range(20), 10))
    assert high - low == pytest.approx(2 * 2.093 * 0.5 / 19**0.5, abs=1e-4)


def test_the_interval_does_not_depend_on_the_order_of_the_questions():
    scores, names = np.array([0.0, 1, 1, 0, 1, 0]), [0, 0, 1, 1, 2, 2]
    order = [4, 1, 5, 0, 3, 2]
    assert paired_interval(scores[order], [names[i] for i in order]) == paired_interval(scores, names)


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


@pytest.fixture
def no_pass(tiny, monkeypatch):
    for module in (tiny.model.model.vision_tower, tiny.model.model.language_model):
        monkeypatch.setattr(module, "forward", lambda *given, **named: pytest.fail("the model ran"))


def asked(*questions, images=PICTURES[0], source=""):
    return [Example(images, "one", question, "cat", "any", source=source) for question in questions]


@dataclass(kw_only=True)
class Asking(Task):
    """One question."""

    question: str = "what?"

    def examples(self):
        yield from asked(self.question)


def test_a_question_that_cannot_be_asked_is_named_before_the_model_runs(tiny, no_pass):
    task = Asking()
    for examples, message in (
        (asked("what?", "what </s>?"), r"^question 2 of .*Asking.*: the question holds '</s>'"),
        (asked("what?", " ", source="q.jsonl, line 7"), r"^q.jsonl, line 7: the question is empty"),
        (asked("what?", "b.jpg", source="q.jsonl, line 7"), r"^q.jsonl, line 7: the question is 'b.jpg'"),
        (asked("what?", images=[PICTURES[0]] * 20), r"^question 1 .* made for 2,048: give fewer pictures"),
        (asked("what?", "is it? " * 2000), r"^question 2 .* made for 2,048: ask something shorter"),
    ):
        with pytest.raises(UsageError, match=message):
            check_examples(tiny, task, examples)


def test_the_answer_that_a_task_may_give_counts(tiny, no_pass):
    media = MediaInput.of(PICTURES[0])
    length = tiny.length_of(tiny.process(Conversation.about(media, "what?"), new_tokens=None))
    with pytest.MonkeyPatch.context() as patch:
        config = tiny.model.config.text_config
        patch.setattr(config, "max_position_embeddings", length.positions + Asking.max_new_tokens)
        check_examples(tiny, Asking(), asked("what?"))
        with pytest.raises(UsageError, match="question 1 of"):
            check_examples(tiny, Asking(), asked("what?"), Asking.max_new_tokens + 1)


def test_a_picture_is_opened_once_for_all_of_its_questions(tiny, no_pass, tmp_path, monkeypatch):
    PICTURES[0].save(tmp_path / "one.png")
    opened, real = [], MediaInput.of
    monkeypatch.setattr(MediaInput, "of", lambda *given, **rate: opened.append(1) or real(*given, **rate))
    check_examples(tiny, Asking(), asked("what?", "is it?", "how many?", images=str(tmp_path / "one.png")))
    assert len(opened) == 1


def test_a_picture_is_opened_and_made_smaller_once_for_all_of_its_questions(tiny, tmp_path, monkeypatch):
    PICTURES[0].save(tmp_path / "one.png")
    opened, real = [], read_picture
    monkeypatch.setattr(
        inputs, "read_picture", lambda *given, **limit: opened.append(1) or real(*given, **limit)
    )
    questions = asked("what?", "is it?", images=str(tmp_path / "one.png"))
    whole = PreparedTask.of(tiny, Asking(), questions)
    assert len(opened) == 1
    small = whole.on_resized(lambda tokens: 1 / len(tokens))
    assert len(opened) == 2
    width, height = (round(side / len(whole.prompts[0].visual) ** 0.5) for side in PICTURES[0].size)
    assert [example.images[0].size for example in small.examples] == [(width, height)] * 2
    assert [example.question for example in small.examples] == ["what?", "is it?"]


def test_a_picture_that_is_gone_when_it_is_read_names_its_question(tiny, tmp_path):
    gone = asked("what?", images=str(tmp_path / "gone.png"), source="q.jsonl, line 7")
    with pytest.raises(MediaError, match=r"^q.jsonl, line 7: no such picture"):
        PreparedTask.of(tiny, Asking(), gone)


def test_a_comparison_checks_all_tasks_before_the_first_pass(tiny, no_pass):
    tasks = [Asking(), Asking(question="what </s>?")]
    with pytest.raises(UsageError, match=r"question 1 of .*question=what </s>\?: the question holds"):
        compare(tiny, tasks, [Uniform(keep=0.1)])
