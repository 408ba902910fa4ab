"""Estimates: a mean over pictures with its interval, where there is one."""

import numpy as np
import pytest

from wordsight.bootstrap import RESAMPLES, estimate, interval


def test_an_estimate_leaves_out_pictures_without_a_value():
    found = estimate([1.0, None, 2.0, 6.0], ["a", "b", "c", "d"])
    low, high = interval(np.array([1.0, 2.0, 6.0]), ["a", "c", "d"])
    assert found == {"mean": 3.0, "low": low, "high": high, "pictures": 3}


def test_the_interval_is_that_of_pictures_drawn_again_and_again():
    values = np.random.default_rng(5).normal(size=30)
    found = estimate(values.tolist(), [str(i) for i in range(30)])
    drawn = np.random.default_rng(7).choice(values, (RESAMPLES, 30)).mean(1)
    assert [found["low"], found["high"]] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.04)


@pytest.mark.parametrize("names", [["a"], ["a", "a"]])
def test_one_picture_has_no_interval_however_often_it_is_there(names):
    assert estimate([0.5] * len(names), names) == {
        "mean": 0.5,
        "low": None,
        "high": None,
        "pictures": len(names),
    }


def test_no_value_has_no_mean():
    assert estimate([None, None], ["a", "b"]) == {"mean": None, "low": None, "high": None, "pictures": 0}
