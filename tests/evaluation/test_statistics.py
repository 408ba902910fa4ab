"""Estimates, and intervals where a bootstrap sees no spread; others are tested where they are used."""

import math

import numpy as np
import pytest

from wordsight.evaluation.statistics import DIFFERENCES, RESAMPLES, estimate, interval, interval_of_tasks


def likeliest_share(pictures, level):
    """The largest share of pictures that differ with which none of so many is seen at 1 - level."""
    share = 1.0
    while (1 - share) ** pictures < 1 - level:
        share -= 1e-5
    return share


@pytest.mark.parametrize("level", [0.9, 0.95, 0.975])
@pytest.mark.parametrize("pictures", [100, 400])
def test_answers_that_are_all_right_do_not_pass_for_certainty(pictures, level):
    names = [str(number // 2) for number in range(2 * pictures)]
    low, high = interval(np.ones(2 * pictures), names, level)
    assert high == 1.0
    assert low == pytest.approx(1 - likeliest_share(pictures, level), abs=0.1 / pictures)


def test_answers_that_are_all_wrong_do_not_either():
    low, high = interval(np.zeros(60), list(map(str, range(60))))
    assert (low, high) == pytest.approx((0.0, 3 / 60), abs=1e-4)


def test_a_difference_that_is_always_nothing_reaches_to_both_sides():
    low, high = interval(np.zeros(60), list(map(str, range(60))), ends=DIFFERENCES)
    assert (low, high) == pytest.approx((-3 / 60, 3 / 60), abs=1e-4)


def test_equal_fractions_do_not_pass_for_certainty():
    """The means of resamples of one fraction differ in their last digit."""
    low, high = interval(np.full(17, 0.3), list(map(str, range(17))), ends=DIFFERENCES)
    assert (low, high) == pytest.approx((0.3 - 3 / 17 * 1.3, 0.3 + 3 / 17 * 0.7), abs=1e-3)


def test_pictures_that_were_not_seen_may_lie_at_the_other_end():
    names = list(map(str, range(20)))
    assert interval(np.ones(20), names, ends=DIFFERENCES) == pytest.approx((1 - 2 * 3 / 20, 1), abs=1e-3)
    assert interval(np.ones(2), ["a", "b"]) == (0.0, 1.0)


def test_a_spread_that_an_interval_leaves_out_is_a_spread():
    names = list(map(str, range(40)))
    assert interval(np.array([1.0] * 39 + [0.0]), names, 0.2)[1] < 1
    assert interval(np.array([0.0, 1.0]), ["a", "b"], 0.4) == (0.5, 0.5)


def test_tasks_without_any_spread_each_have_their_share_of_the_margin():
    names = [list(map(str, range(count))) for count in (10, 40)]
    low, high = interval_of_tasks([np.ones(10), np.ones(40)], names)
    assert (low, high) == pytest.approx((1 + math.log(0.05) * (1 / 10 + 1 / 40) / 2, 1.0))


def test_a_task_with_spread_gives_its_own_interval():
    names = list(map(str, range(40)))
    mixed = np.array([0.0, 1.0] * 20)
    low, high = interval(mixed, names)
    both = interval_of_tasks([mixed, np.ones(40)], [names, names])
    assert both == pytest.approx(((low + 1) / 2, (high + 1) / 2))


@pytest.mark.parametrize(("ends", "expected"), [((0.0, 1.0), (0, 0.3)), (DIFFERENCES, (-0.3, 0.3))])
def test_an_estimate_of_what_is_always_nothing_stays_between_its_ends(ends, expected):
    found = estimate([0.0] * 10, ends)
    assert (found["low"], found["high"]) == pytest.approx(expected, abs=1e-3)


def test_an_estimate_leaves_out_pictures_without_a_value():
    found = estimate([1.0, None, 2.0, 6.0])
    low, high = interval(np.array([1.0, 2.0, 6.0]), ["a", "c", "d"])
    assert found == {"mean": 3.0, "low": low, "high": high, "pictures": 3}


def test_the_interval_is_that_of_pictures_drawn_again_and_again():
    values = np.random.default_rng(5).normal(size=30)
    found = estimate(values.tolist())
    drawn = np.random.default_rng(7).choice(values, (RESAMPLES, 30)).mean(1)
    assert [found["low"], found["high"]] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.04)


def test_one_picture_has_no_interval():
    assert estimate([0.5]) == {"mean": 0.5, "low": None, "high": None, "pictures": 1}


def test_no_value_has_no_mean():
    assert estimate([None, None]) == {"mean": None, "low": None, "high": None, "pictures": 0}
