"""Measures against loops."""

import numpy as np
import pytest


def test_calibration_error_is_that_of_a_loop_over_bins(recipe):
    rng = np.random.default_rng(0)
    sure, right = rng.random(200), (rng.random(200) < 0.4).astype(float)
    total = 0.0
    for low in range(10):
        chosen = [i for i in range(200) if low <= sure[i] * 10 < low + 1]
        if chosen:
            gap = abs(np.mean([sure[i] for i in chosen]) - np.mean([right[i] for i in chosen]))
            total += len(chosen) / 200 * gap
    assert recipe.measures.calibration_error(sure, right) == pytest.approx(total)


def test_full_confidence_is_in_the_last_bin(recipe):
    assert recipe.measures.calibration_error(np.ones(4), np.ones(4)) == 0


def test_area_is_the_share_of_pairs_in_order(recipe):
    rng = np.random.default_rng(1)
    positive, negative = rng.integers(0, 6, 40) + 1.0, rng.integers(0, 6, 30) * 1.0
    pairs = [(p > n) + (p == n) / 2 for p in positive for n in negative]
    assert recipe.measures.area_under_curve(positive, negative) == pytest.approx(np.mean(pairs))


def test_an_interval_holds_its_value_and_narrows_with_pictures(recipe):
    rng = np.random.default_rng(2)
    spans = []
    for count in (30, 3000):
        found = recipe.measures.resampled(lambda one: float(one.mean()), rng.random(count))
        low, high = found["interval"]
        assert low < found["value"] < high
        spans.append(high - low)
    assert spans[1] < spans[0] / 5


def test_a_gate_is_judged_by_its_own_threshold(recipe):
    passes = recipe.evaluate.passes
    assert passes({"at_least": 0.85}, {"value": 0.85})
    assert not passes({"at_most": 0.05}, {"value": 0.06})
    assert not passes({"below": 0.2}, {"value": 0.2})
    assert passes({"at_least": 0.85}, None) is None


def test_every_gate_is_in_the_report(recipe):
    found = recipe.evaluate.judged({"names": {"value": 0.9, "interval": [0.8, 1.0], "n": 3}})
    assert [gate["passes"] for gate in found if gate["name"] == "names"] == [True]
    assert {gate["passes"] for gate in found if gate["name"] != "names"} == {None}
