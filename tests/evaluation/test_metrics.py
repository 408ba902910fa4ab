"""Rows from scores made up by hand: differences, intervals, the easy and the hard part."""

import random
import statistics

import pytest

from wordsight.evaluation.metrics import Baselines, mean_metrics
from wordsight.evaluation.result_cache import RunResult
from wordsight.tasks.base import Example

NAMES = [0, 0, 1, 1, 2, 2]
EXAMPLES = [Example("x.png", str(name), "?", "yes", kind) for name, kind in zip(NAMES, "aababb", strict=True)]
WHOLE = RunResult([1, 1, 1, 0, 1, 1], 144.0)
BLIND = RunResult([1, 0, 1, 0, 0, 0], 0.0)
PRUNED = RunResult([1, 0, 1, 1, 0, 1], 14.0, drops_all=2, timing={"rounds": 7})
OTHER = RunResult([0, 0, 1, 0, 0.5, 1], 14.0)
RESIZED = RunResult([1, 1, 0, 0, 0.5, 0.4], 144.0)
BASELINES = Baselines(EXAMPLES, WHOLE, BLIND)
ROW = BASELINES.metrics(PRUNED, {"none": WHOLE, "other": OTHER}, RESIZED)


def slow_interval(values):
    """Draw pictures with replacement, take the mean over all of their questions, sort, cut."""
    draw = random.Random(1)
    pictures = [[value for value, name in zip(values, NAMES, strict=True) if name == one] for one in range(3)]
    means = sorted(
        statistics.fmean(value for picture in draw.choices(pictures, k=3) for value in picture)
        for _ in range(4000)
    )
    return means[100], means[-101]


def test_a_row_tells_accuracy_and_what_it_is_of_the_unpruned_one():
    assert ROW["accuracy"] == pytest.approx(4 / 6)
    assert ROW["unpruned"] == pytest.approx(5 / 6)
    assert ROW["retention"] == pytest.approx(4 / 5)
    assert (ROW["low"], ROW["high"]) == pytest.approx(slow_interval(PRUNED.scores), abs=0.02)


def test_differences_are_those_of_pairs():
    to_whole = [0, -1, 0, 1, -1, 0]
    to_other = [1, 0, 0, 1, -0.5, 0]
    assert ROW["difference_to"]["none"] == pytest.approx([-1 / 6, *slow_interval(to_whole)], abs=0.02)
    assert ROW["difference_to"]["other"] == pytest.approx([1.5 / 6, *slow_interval(to_other)], abs=0.02)


def test_the_image_contribution_is_what_the_pictures_add_to_the_blind_score():
    assert ROW["blind"] == pytest.approx(2 / 6)
    assert ROW["image_contribution"] == pytest.approx((5 - 2) / 2)


def test_without_a_blind_score_or_an_unpruned_one_there_is_no_share_of_it():
    nothing = RunResult([0] * 6, 0.0)
    row = Baselines(EXAMPLES, nothing, nothing).metrics(PRUNED, {}, None)
    assert (row["retention"], row["image_contribution"]) == (None, None)


def test_easy_is_what_the_unpruned_model_answers_on_a_resized_picture():
    easy, hard = ROW["split"]["easy"], ROW["split"]["hard"]  # questions 0, 1, 4 and 2, 3, 5
    assert (easy["questions"], hard["questions"]) == (3, 3)
    assert (easy["accuracy"], hard["accuracy"]) == pytest.approx((1 / 3, 1))
    assert (easy["unpruned"], hard["unpruned"]) == pytest.approx((1, 2 / 3))
    assert easy["low"] <= easy["accuracy"] <= easy["high"]


def test_a_part_without_questions_has_no_accuracy():
    hard = BASELINES.metrics(PRUNED, {}, RunResult([1] * 6, 144.0))["split"]["hard"]
    assert hard == {"accuracy": None, "low": None, "high": None, "unpruned": None, "questions": 0}


def test_types_of_questions_are_told_apart():
    kinds = ROW["by_type"]  # a: questions 0, 1, 3; b: 2, 4, 5
    assert {kind: told["questions"] for kind, told in kinds.items()} == {"a": 3, "b": 3}
    assert (kinds["a"]["accuracy"], kinds["b"]["accuracy"]) == pytest.approx((2 / 3, 2 / 3))
    assert (kinds["a"]["blind"], kinds["b"]["blind"]) == pytest.approx((1 / 3, 1 / 3))


def test_what_was_counted_is_taken_over():
    assert (ROW["tokens_total"], ROW["tokens_kept"], ROW["drops_all"]) == (144.0, 14.0, 2)
    assert (ROW["questions"], ROW["pictures"], ROW["timing"]) == (6, 3, {"rounds": 7})


SECOND = Baselines(
    [Example("x.png", str(name), "?", "yes", "a") for name in (0, 0, 1)],
    RunResult([1, 1, 1], 288.0),
    RunResult([0, 0, 1], 0.0),
)
LATER = RunResult([1, 0, 0], 29.0, drops_all=1)


def test_a_mean_over_tasks_counts_every_task_alike():
    row = mean_metrics([BASELINES, SECOND], [PRUNED, LATER], {"none": [WHOLE, SECOND.whole]})
    assert row["accuracy"] == pytest.approx((4 / 6 + 1 / 3) / 2)
    assert row["unpruned"] == pytest.approx((5 / 6 + 1) / 2)
    assert row["retention"] == pytest.approx(((4 / 6) / (5 / 6) + (1 / 3) / 1) / 2)
    assert row["blind"] == pytest.approx((2 / 6 + 1 / 3) / 2)
    assert row["difference_to"]["none"][0] == pytest.approx(row["accuracy"] - row["unpruned"])
    assert (row["tokens_kept"], row["tokens_total"]) == ((14 + 29) / 2, (144 + 288) / 2)
    assert (row["questions"], row["pictures"], row["drops_all"]) == (9, 5, 3)


def test_the_interval_of_a_mean_over_tasks_draws_the_pictures_of_each_by_themselves():
    row = mean_metrics([BASELINES, SECOND], [PRUNED, LATER], {})
    draw = random.Random(2)
    groups = [[[1, 0], [1, 1], [0, 1]], [[1, 0], [0]]]
    means = []
    for _ in range(4000):
        of_tasks = [
            statistics.fmean(value for picture in draw.choices(task, k=len(task)) for value in picture)
            for task in groups
        ]
        means.append(statistics.fmean(of_tasks))
    means.sort()
    assert (row["low"], row["high"]) == pytest.approx((means[100], means[-101]), abs=0.03)
