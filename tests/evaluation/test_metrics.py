"""Rows from scores made up by hand: differences, intervals, the easy and the hard part."""

import math
import statistics

import numpy as np
import pytest

from wordsight.evaluation.metrics import Baselines, mean_metrics
from wordsight.evaluation.result_cache import RunResult
from wordsight.evaluation.statistics import DIFFERENCES, interval
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


def test_a_row_tells_accuracy_and_what_it_is_of_the_unpruned_one():
    assert ROW["accuracy"] == pytest.approx(4 / 6)
    assert ROW["unpruned"] == pytest.approx(5 / 6)
    assert ROW["retention"] == pytest.approx(4 / 5)
    # Of three pictures with two questions each, .5, 1 and .5 right: an error of 1/6, and t of two degrees.
    for end in (ROW["low"], ROW["high"]):
        spread = end * (1 - end) / (4 / 6 * 2 / 6)
        assert abs(end - 4 / 6) == pytest.approx(4.30265 * (1 / 6) * math.sqrt(spread), abs=1e-4)
    assert ROW["low"] < ROW["accuracy"] < ROW["high"]


def test_differences_are_those_of_pairs():
    # Over the three pictures -.5, .5 and -.5, and .5, .5 and -.25, with t of two degrees of freedom.
    for name, means in (("none", (-0.5, 0.5, -0.5)), ("other", (0.5, 0.5, -0.25))):
        mean, reach = statistics.fmean(means), 4.30265 * statistics.stdev(means) / math.sqrt(3)
        expected = [mean, max(-1.0, mean - reach), min(1.0, mean + reach)]
        assert ROW["difference_to"][name] == pytest.approx(expected, abs=1e-4)


def test_the_image_contribution_is_what_the_pictures_add_to_the_blind_score():
    assert ROW["blind"] == pytest.approx(2 / 6)
    assert ROW["image_contribution"] == pytest.approx((5 - 2) / 2)


def test_the_yes_ratio_is_of_what_is_said_not_of_what_is_right():
    # Five of two times six answers are yes: of those that say both, or something else, none is.
    first = ["Yes", "yes, there is", "Yes.", "no", "yes or no", "maybe"]
    second = ["No", "no", "YES", "A dog", "", "yes"]
    said = RunResult([1] * 6, 14.0, answers=[first, second])
    assert BASELINES.metrics(said, {}, None)["yes_ratio"] == pytest.approx(5 / 12)
    counting = [*EXAMPLES[:5], Example("x.png", "2", "how many?", "2", "b")]
    assert Baselines(counting, WHOLE, BLIND).metrics(said, {}, None)["yes_ratio"] is None


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


def test_the_interval_of_a_mean_over_tasks_adds_those_of_the_tasks():
    row = mean_metrics([BASELINES, SECOND], [PRUNED, LATER], {})
    first = interval(np.array(PRUNED.scores, float), BASELINES.pictures)
    second = interval(np.array(LATER.scores, float), SECOND.pictures)
    below = math.hypot(4 / 6 - first[0], 1 / 3 - second[0]) / 2
    above = math.hypot(first[1] - 4 / 6, second[1] - 1 / 3) / 2
    assert (row["low"], row["high"]) == pytest.approx((row["accuracy"] - below, row["accuracy"] + above))


def test_a_difference_of_means_over_tasks_adds_those_of_the_tasks():
    row = mean_metrics([BASELINES, SECOND], [PRUNED, LATER], {"none": [WHOLE, SECOND.whole]})
    first = interval(np.array([0.0, -1, 0, 1, -1, 0]), BASELINES.pictures, ends=DIFFERENCES)
    second = interval(np.array([0.0, -1, -1]), SECOND.pictures, ends=DIFFERENCES)
    mean = (-1 / 6 - 2 / 3) / 2
    below = math.hypot(-1 / 6 - first[0], -2 / 3 - second[0]) / 2
    above = math.hypot(first[1] + 1 / 6, second[1] + 2 / 3) / 2
    assert row["difference_to"]["none"] == pytest.approx([mean, mean - below, mean + above])


@pytest.mark.parametrize(("counts", "expected"), [((20,), True), ((19,), False), ((20, 19), False)])
def test_a_row_says_whether_every_task_has_enough_pictures(counts, expected):
    tasks = [
        Baselines(
            [Example("x.png", str(i), "?", "yes", "a") for i in range(count)],
            *[RunResult([1] * count, 9)] * 2,
        )
        for count in counts
    ]
    row = tasks[0].metrics(tasks[0].whole, {}, None)
    if len(counts) > 1:
        row = mean_metrics(tasks, [task.whole for task in tasks], {})
    assert row["enough_pictures"] is expected


def test_one_picture_has_no_interval():
    one = [Example("x.png", "0", "?", "yes", "a")] * 2
    baselines = Baselines(one, RunResult([1, 1], 9.0), RunResult([0, 0], 0.0))
    row = baselines.metrics(RunResult([1, 0], 3.0), {"none": baselines.whole}, RunResult([1, 0], 9.0))
    assert (row["low"], row["high"]) == (None, None)
    assert row["difference_to"] == {"none": [-0.5, None, None]}
    assert row["by_type"]["a"]["low"] is None
    mean = mean_metrics([BASELINES, baselines], [PRUNED, baselines.whole], {})
    assert (mean["low"], mean["high"]) == (None, None)
