"""Intervals over models and pictures: worked by hand, against tables of Student's t, and by simulation."""

import math

import numpy as np
import pytest

# Two models, three pictures: means .2 and .4; of the pictures -.1, .4 and .6.
TWO = np.array([[-0.2, 0.4, 0.4], [0.0, 0.4, 0.8]])


def test_a_case_worked_by_hand(benchmarks):
    found = benchmarks.over_models.pooled(TWO, ["a", "b", "c"], 0.95)
    # Pictures: the variance of (-.1, .4, .6) is .13, over 3. Models: that of (.2, .4) is .02, over 2.
    assert found["over_pictures"] == pytest.approx(math.sqrt(0.13 / 3))
    assert found["over_models"] == pytest.approx(math.sqrt(0.01))
    # Satterthwaite: (.13 / 3 + .01)**2 / ((.13 / 3)**2 / 2 + .01**2 / 1) = 2.743; t(.975) between those of
    # 2 and 3 degrees of freedom, which tables have as 4.303 and 3.182.
    mean, low, high = found["interval"]
    assert mean == pytest.approx(0.3)
    assert 3.182 < (mean - low) / math.sqrt(0.13 / 3 + 0.01) < 4.303
    assert high == 1.0  # no difference is larger
    assert (found["models"], found["pictures"]) == (2, 3)


def test_questions_about_one_picture_count_as_one(benchmarks):
    twice = np.repeat(TWO, 2, 1)
    once = benchmarks.over_models.pooled(TWO, ["a", "b", "c"], 0.95)
    assert benchmarks.over_models.pooled(twice, [*"aabbcc"], 0.95)["interval"] == pytest.approx(
        once["interval"]
    )


def test_models_that_agree_by_chance_are_no_proof_that_all_do(benchmarks):
    """Three models, right on other pictures, as often: their means do not differ at all."""
    gaps = np.array([[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 1, 0], [0, 0, 1, 0, 0, 1.0]])
    # What is left of each model without the pictures' means (1/3 each) has the squares 4/9 and 1/9: in all
    # 3 * (2 * 4/9 + 4 * 1/9) = 4 over (3 - 1) * (6 - 1) for one answer, and that over 3 * 6 answers.
    assert benchmarks.over_models.model_error(gaps, [*"abcdef"]) ** 2 == pytest.approx(0.4 / 18)


def test_one_model_has_the_interval_over_pictures(benchmarks):
    one = benchmarks.over_models.pooled(TWO[:1], ["a", "b", "c"], 0.95)
    assert one["interval"] == one["by_model"][0]
    assert one["over_models"] == 0


def test_answers_that_no_picture_changes_have_the_rule_of_three(benchmarks):
    _, low, high = benchmarks.over_models.pooled(np.zeros((3, 100)), [*map(str, range(100))], 0.95)[
        "interval"
    ]
    assert (low, high) == pytest.approx((-0.0369, 0.0369), abs=1e-4)


@pytest.mark.parametrize("spread", [0.0, 0.03, 0.08])
def test_intervals_of_three_models_hold_what_they_claim_where_pictures_alone_do_not(benchmarks, spread):
    """Draws of its own, normal ones, of which nothing is right or wrong."""
    rng, held, alone = np.random.default_rng(0), 0, 0
    names = [str(number) for number in range(60)]
    for _ in range(400):
        models, pictures = rng.normal(0, spread, (3, 1)), rng.normal(0, 0.2, 60)
        gaps = 0.1 + models + pictures + rng.normal(0, 0.2, (3, 60))
        _, low, high = benchmarks.over_models.pooled(gaps, names, 0.95)["interval"]
        held += low <= 0.1 <= high
        reach = 2.0 * gaps.mean(0).std(ddof=1) / math.sqrt(60)  # t(.975) with 59 degrees of freedom
        alone += abs(gaps.mean() - 0.1) <= reach
    assert held / 400 > 0.9  # docs/results.md has it exactly
    if spread == 0.08:
        assert alone / 400 < 0.8


def test_the_levels_of_all_comparisons_add_up_to_one_in_twenty(benchmarks):
    assert (1 - benchmarks.over_models.corrected(33)) * 33 == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("ends", "says"),
    [
        ((0.1, 0.01, 0.2), "above"),
        ((-0.1, -0.2, -0.01), "below"),
        ((0.0, -0.015, 0.019), "alike: a gain above 0.019 and a loss above 0.015 are excluded"),
        ((0.0, -0.03, 0.019), "not told apart: a gain above 0.019 and a loss above 0.030 are excluded"),
        ((0.03, 0.0, 0.06), "not told apart: a gain above 0.060 and a loss above 0.000 are excluded"),
    ],
)
def test_what_is_not_told_apart_says_what_is_excluded(benchmarks, ends, says):
    assert benchmarks.over_models.said(ends) == says


def test_the_simulation_finds_percentiles_of_three_models_too_narrow(benchmarks):
    found = benchmarks.coverage.coverage_of_models(0.08, 100, 150)["0.9500"]
    assert found["wordsight"]["holds"] > 0.9
    assert found["pictures alone"]["holds"] < 0.9 < found["wordsight"]["holds"]
    assert found["bootstrap"]["holds"] < found["wordsight"]["holds"]
