"""Comparisons on the tiny model against answers asked for one by one."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from wordsight._utils.registry import spec
from wordsight.errors import UsageError
from wordsight.evaluation.comparison import Settings, compare
from wordsight.evaluation.environment import environment
from wordsight.evaluation.latency import Timing
from wordsight.models.vlm import VLM
from wordsight.pruners.cls_topk import ClsTopK
from wordsight.pruners.codebook import CodebookPruner
from wordsight.pruners.divprune import DivPrune
from wordsight.pruners.random import Random
from wordsight.pruners.uniform import Uniform
from wordsight.redundancy.codebook import Codebook
from wordsight.synthetic.scenes import render
from wordsight.tasks.base import Example, Task
from wordsight.tasks.scenes import Scenes

PICTURES = [render(seed).image for seed in range(3)]


@dataclass(kw_only=True)
class Lengths(Task):
    """Four questions about each of three pictures; the score is the length said, from nothing to twenty."""

    max_new_tokens = 3

    def examples(self):
        for number, picture in enumerate(PICTURES):
            for word in ("cat", "sky", "two", "what is at the left of the image"):
                yield Example(picture, str(number), f"{word}?", "any", "long" if " " in word else "short")

    def score(self, example, said):
        return min(len(said), 20) / 20


KEYS = frozenset(
    (
        *("model", "task", "tasks", "questions", "pictures", "enough_pictures", "tokens_total"),
        *("unpruned", "blind", "image_contribution", "by_type", "split", "yes_ratio"),
        *("pruner", "keep", "tokens", "tokens_kept", "drops_all", "seeds", "timing"),
        *("accuracy", "low", "high", "retention", "difference_to"),
    )
)
METHODS = [Random(keep=0.1), Uniform(keep=0.1), ClsTopK(keep=1.0), Uniform(keep=1.0), DivPrune(tokens=7)]


@pytest.fixture(scope="module")
def results(tiny):
    return compare(tiny, [Lengths()], METHODS)


@pytest.fixture
def rows(results):
    return {(row["pruner"], row["keep"], row["tokens"]): row for row in results.rows}


def place(pruner):
    """What tells the row of a pruner from others: its SPEC, and either its share or its count."""
    if pruner is None:
        return ("none", 1.0, None)
    return (spec(pruner), pruner.keep, None) if pruner.tokens is None else (spec(pruner), None, pruner.tokens)


def asked_one_by_one(vlm, pruner):
    """The score of every question, each answered on its own."""
    task = Lengths()
    said = [
        vlm.answer(example.images, example.question, pruner=pruner, max_new_tokens=task.max_new_tokens).text
        for example in task.examples()
    ]
    return [task.score(example, text) for example, text in zip(task.examples(), said, strict=True)]


def test_rows_are_the_unpruned_model_and_keep_by_keep_resized_pictures_and_pruners(results):
    random, uniform, topk, all_uniform, divprune = map(place, METHODS)
    assert [(row["pruner"], row["keep"], row["tokens"]) for row in results.rows] == [
        *(place(None), ("resized", 0.1, None), random, uniform),
        *(("resized", 1.0, None), topk, all_uniform, ("resized", None, 7), divprune),
    ]


def test_every_row_has_the_same_keys(results):
    assert {frozenset(row) for row in results.rows} == {KEYS}


@pytest.mark.parametrize("pruner", [None, *METHODS[1:]], ids=repr)
def test_accuracy_is_the_mean_of_answers_asked_for_one_by_one(tiny, rows, pruner):
    assert rows[place(pruner)]["accuracy"] == pytest.approx(np.mean(asked_one_by_one(tiny, pruner)))


def test_random_tokens_are_drawn_with_three_seeds_and_averaged(tiny, rows):
    each = [np.mean(asked_one_by_one(tiny, Random(keep=0.1, seed=seed))) for seed in range(3)]
    assert rows[place(METHODS[0])]["accuracy"] == pytest.approx(np.mean(each))
    assert rows[place(METHODS[0])]["seeds"] == 3


def test_the_made_up_task_tells_methods_apart(results):
    assert len({row["accuracy"] for row in results.rows}) > 2


@pytest.mark.parametrize("pruner", METHODS[2:4], ids=repr)
def test_keeping_all_tokens_is_as_accurate_as_the_unpruned_model(rows, pruner):
    assert rows[place(pruner)]["accuracy"] == rows[place(None)]["accuracy"]
    difference, low, high = rows[place(pruner)]["difference_to"]["none"]
    assert (difference, low) == (0.0, -high)


def test_rows_say_how_many_tokens_were_kept_of_how_many(results):
    # The processor enlarges what was resized: the model reads as many tokens as before.
    assert [row["tokens_kept"] for row in results.rows] == [144, 144, 14, 14, 144, 144, 144, 144, 7]
    assert {row["tokens_total"] for row in results.rows} == {144}


def test_rows_count_questions_and_pictures(results):
    assert {(row["questions"], row["pictures"]) for row in results.rows} == {(12, 3)}


def test_accuracy_lies_inside_its_interval(results):
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in results.rows)


def test_methods_are_compared_with_the_unpruned_model_and_with_random_tokens_at_the_same_keep(results):
    both, one = ["none", "random"], ["none"]
    assert [sorted(row["difference_to"]) for row in results.rows] == [[], both, one, both, *[one] * 5]


def test_a_difference_is_that_of_the_accuracies(rows):
    uniform, drawn = rows[place(METHODS[1])], rows[place(METHODS[0])]
    expected = uniform["accuracy"] - drawn["accuracy"]
    mean, low, high = uniform["difference_to"]["random"]
    assert mean == pytest.approx(expected)
    assert low <= mean <= high


def test_random_tokens_are_found_wherever_they_stand_in_the_list(tiny):
    rows = compare(tiny, [Lengths()], [Uniform(keep=0.1), Random(keep=0.1)], limit=2).rows
    assert "random" in next(row for row in rows if row["pruner"] == "uniform")["difference_to"]


def test_one_token_is_not_compared_with_all_random_tokens(tiny):
    rows = compare(tiny, [Lengths()], [Random(keep=1.0), Uniform(tokens=1)], limit=2).rows
    assert sorted(rows[-1]["difference_to"]) == ["none"]


def test_retention_is_the_share_of_the_unpruned_accuracy(rows):
    whole = rows[place(None)]["accuracy"]
    assert whole > 0
    assert all(row["retention"] == pytest.approx(row["accuracy"] / whole) for row in rows.values())


def test_blind_is_the_score_without_any_visual_token(tiny, results):
    class Nothing(Uniform):
        def select(self, tokens):
            return tokens.take(tokens.slot[:0])

    assert {row["blind"] for row in results.rows} == {np.mean(asked_one_by_one(tiny, Nothing()))}


def test_accuracy_is_told_by_type_of_question(rows):
    kinds = rows[place(None)]["by_type"]
    assert {kind: row["questions"] for kind, row in kinds.items()} == {"short": 9, "long": 3}
    weighted = sum(row["accuracy"] * row["questions"] for row in kinds.values()) / 12
    assert weighted == pytest.approx(rows[place(None)]["accuracy"])
    assert {row["prior"] for row in kinds.values()} == {1.0}


def test_scenes_are_asked_up_to_the_limit(tiny):
    task = Scenes(pictures=2)
    (row,) = compare(tiny, [task], [], limit=12).rows
    shown = {example.picture_id for example in task.first(12)}
    assert (row["task"], row["questions"], row["pictures"]) == ("scenes:pictures=2", 12, len(shown))


def test_the_same_comparison_gives_the_same_rows(tiny):
    once, again = (compare(tiny, [Lengths()], METHODS[:2], limit=4).rows for _ in range(2))
    assert once == again


def test_the_environment_names_model_and_versions(tiny, results):
    (model,) = results.environment["models"]
    assert (model["model"], model["fingerprint"]) == ("tiny", tiny.fingerprint)
    assert {"date", "threads", "machine", "python", "versions"} <= set(results.environment)
    assert (
        environment(tiny)
        == {key: results.environment[key] for key in results.environment if key != "models"} | model
    )


def test_several_models_are_compared_one_after_another(tiny):
    held = []

    def models():
        for name in ("one", "two"):
            held.append(name)
            yield VLM(tiny.model, tiny.processor, name)

    results = compare(models(), [Lengths()], [Uniform(keep=0.1)], limit=2)
    assert [(row["model"], row["pruner"]) for row in results.rows] == [
        (model, pruner) for model in ("one", "two") for pruner in ("none", "resized", "uniform")
    ]
    assert [model["model"] for model in results.environment["models"]] == held


def test_another_reference_takes_the_place_of_random_tokens(tiny, results):
    settings = Settings(reference="uniform")
    rows = compare(tiny, [Lengths()], METHODS[:2], settings=settings).rows
    told = {row["pruner"]: row["difference_to"] for row in rows}
    assert [sorted(told[name]) for name in ("resized", "random", "uniform")] == [
        *(["none", "uniform"], ["none", "uniform"], ["none"])
    ]
    mean, low, high = results.rows[3]["difference_to"]["random"]
    assert told["random"]["uniform"] == pytest.approx([-mean, -high, -low])


def test_a_threshold_is_not_compared_with_the_reference(tiny):
    torch.manual_seed(0)
    book = Codebook(torch.randn(3, 32), {"format": 1, "model": "made-up", "fingerprint": None})
    pruner = CodebookPruner(codebook=book, threshold=-1.0, keep=0.1)
    *_, row = compare(tiny, [Lengths()], [METHODS[0], pruner]).rows
    assert sorted(row["difference_to"]) == ["none"]
    assert (row["tokens_kept"], row["drops_all"]) == (1.0, 3)


def test_pictures_are_resized_to_the_share_that_is_kept(tiny):
    rows = compare(tiny, [Lengths()], [Uniform(keep=0.1), Uniform(tokens=36)]).rows
    for row, share in ((rows[1], 0.1), (rows[3], 36 / 144)):
        side = round(192 * share**0.5)
        smaller = [picture.resize((side, side), Image.Resampling.BICUBIC) for picture in PICTURES]
        said = [
            tiny.answer(smaller[int(example.picture_id)], example.question, max_new_tokens=3).text
            for example in Lengths().examples()
        ]
        assert row["pruner"] == "resized"
        assert row["accuracy"] == pytest.approx(np.mean([min(len(text), 20) / 20 for text in said]))


def test_times_are_measured_where_they_are_asked_for(tiny):
    settings = Settings(timing=Timing(rounds=6, batch=2, new_tokens=2))
    rows = compare(tiny, [Lengths()], [Uniform(keep=0.1)], limit=2, settings=settings).rows
    assert [row["timing"] and len(row["timing"]["batches"]) for row in rows] == [2, None, 2]
    assert (
        rows[2]["timing"]["batches"][0]["kv_cache_bytes"] < rows[0]["timing"]["batches"][0]["kv_cache_bytes"]
    )


class Silent(Lengths):
    def examples(self):
        return iter(())


@pytest.mark.parametrize(
    ("tasks", "pruners", "settings", "message"),
    [
        ([Lengths(), Lengths()], [], Settings(), "duplicate task .*Lengths: leave one out"),
        ([Lengths()], [Uniform(keep=0.1)] * 2, Settings(), r"duplicate pruner uniform at keep 0\.1: leave"),
        ([Lengths()], [Uniform(tokens=7)] * 2, Settings(), "duplicate pruner uniform at 7 tokens: leave"),
        (
            [Lengths()],
            [Uniform()],
            Settings(reference="unifrom"),
            "unknown reference 'unifrom': did you mean 'uniform'",
        ),
        ([Silent()], [], Settings(), "task .*Silent has no questions"),
    ],
)
def test_what_cannot_be_compared_is_refused(tiny, tasks, pruners, settings, message):
    with pytest.raises(UsageError, match=message):
        compare(tiny, tasks, pruners, settings=settings)


def test_a_model_that_is_there_twice_is_refused(tiny):
    with pytest.raises(UsageError, match="duplicate model tiny: leave one out"):
        compare([tiny, tiny], [Lengths()], [], limit=1)


def test_rows_of_the_mean_over_tasks_follow_those_of_the_tasks(tiny):
    methods = [Random(keep=0.1), Uniform(keep=0.1)]
    found = compare(tiny, [Lengths(), Scenes(pictures=2)], methods, limit=6).rows
    first, second, mean = found[:4], found[4:8], found[8:]
    assert {row["task"] for row in mean} == {"mean of 2 tasks"}
    assert [row["pruner"] for row in mean] == ["none", "resized", "random", "uniform"]
    assert {frozenset(row) for row in found} == {KEYS}
    for one, other, both in zip(first, second, mean, strict=True):
        assert both["accuracy"] == pytest.approx((one["accuracy"] + other["accuracy"]) / 2)
        assert both["tasks"] == 2
    assert sorted(mean[3]["difference_to"]) == ["none", "random"]


@dataclass(kw_only=True)
class Longest(Lengths):
    """The score of all is the length of the longest answer, in letters."""

    def aggregate(self, examples, generated):
        return lambda places: float(max(len(generated[i]) for i in places))


def test_a_task_that_scores_all_answers_together_has_that_score_and_no_mean_over_tasks(tiny, results):
    rows = compare(tiny, [Longest(), Lengths()], [Uniform(keep=0.1)]).rows
    together = [row for row in rows if row["task"].endswith("Longest")]
    said = next(each for each in results.answers[0]["answered"] if each["pruner"] == "uniform")["texts"][0]
    whole = results.answers[0]["answered"][0]["texts"][0]
    longest = [max(map(len, texts)) for texts in (said, whole)]
    assert together[-1]["accuracy"] == longest[0]
    assert together[-1]["retention"] == pytest.approx(longest[0] / longest[1])
    assert together[-1]["difference_to"]["none"][0] == longest[0] - longest[1]
    assert (together[-1]["split"], together[-1]["by_type"]) == (None, {})
    assert {row["tasks"] for row in rows} == {1}
