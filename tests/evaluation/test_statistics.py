"""Estimates, intervals, numbers of pictures: against tables, hand-worked cases and slow, literal sums."""

import math
import statistics

import numpy as np
import pytest

from wordsight.evaluation.statistics import (
    DIFFERENCES,
    FEWEST_PICTURES,
    SCORES,
    Resampled,
    estimate,
    interval,
    interval_of_tasks,
    margin,
    pictures_needed,
    student_quantile,
)


def names(count, each=1):
    """Of so many pictures, with so many questions about each."""
    return [str(number // each) for number in range(count * each)]


@pytest.mark.parametrize(
    ("level", "degrees", "expected"),
    [
        *((0.95, 1, 12.7062), (0.95, 2, 4.3027), (0.95, 9, 2.2622), (0.95, 19, 2.0930), (0.95, 120, 1.9799)),
        *((0.9, 4, 2.1318), (0.99, 2, 9.9248), (0.975, 9, 2.6850), (0.999, 30, 3.6460), (0.95, 4000, 1.9606)),
    ],
)
def test_quantiles_are_those_of_published_tables(level, degrees, expected):
    assert student_quantile(level, degrees) == pytest.approx(expected, rel=1e-4)


def test_a_difference_has_students_interval_of_the_means_of_pictures():
    each = [0.5, -0.25, 0.0, 0.25, 0.0, 1.0, 0.0, 0.0, -0.5, 0.0]
    middle, error = statistics.fmean(each), statistics.stdev(each) / math.sqrt(10)
    found = interval(np.repeat(each, 4), names(10, 4), ends=DIFFERENCES)
    assert found == pytest.approx((middle - 2.26216 * error, middle + 2.26216 * error), abs=1e-5)


def test_questions_about_one_picture_count_as_one_draw():
    """The answers to three questions are those to one, asked three times."""
    each = np.random.default_rng(0).integers(0, 2, 30) * 1.0
    assert interval(np.repeat(each, 3), names(30, 3)) == pytest.approx(interval(each, names(30)))


def test_a_score_has_wilsons_interval():
    """Nine of ten right: both ends are as far from .9 as an accuracy there lets a sample of ten stray."""
    low, high = interval(np.array([1.0] * 9 + [0.0]), names(10))
    for end in (low, high):
        assert abs(end - 0.9) == pytest.approx(2.26216 * math.sqrt(end * (1 - end) / 9), abs=1e-5)
    assert 0.5 < low < 0.9 < high < 1


def test_pictures_weigh_as_many_questions_as_they_have():
    """A ratio of sums: its spread is what is left of the score of a picture without its share of the mean."""
    counts, right = [1, 3, 6, 2], [1, 2, 1, 2]
    scores = np.concatenate([[1.0] * r + [0.0] * (n - r) for n, r in zip(counts, right, strict=True)])
    pictures = np.repeat(list("abcd"), counts).tolist()
    mean = 6 / 12
    spread = sum((r - mean * n) ** 2 for n, r in zip(counts, right, strict=True))
    reach = 3.18245 * math.sqrt(4 / 3 * spread) / 12
    found = interval(scores - 0.0, pictures, ends=DIFFERENCES)
    assert found == pytest.approx((mean - reach, min(1, mean + reach)), abs=1e-5)


def likeliest_share(pictures, level):
    """The largest share of pictures that differ of which none of so many is seen at 1 - level, both ways."""
    share = 1.0
    while (1 - share) ** pictures < (1 - level) / 2:
        share -= 1e-5
    return share


@pytest.mark.parametrize("level", [0.9, 0.95, 0.975])
@pytest.mark.parametrize("pictures", [100, 400])
def test_answers_that_are_all_right_do_not_pass_for_certainty(pictures, level):
    low, high = interval(np.ones(2 * pictures), names(pictures, 2), level)
    assert high == 1.0
    assert low == pytest.approx(1 - likeliest_share(pictures, level), abs=0.1 / pictures)


def test_answers_that_are_all_wrong_do_not_either():
    assert interval(np.zeros(60), names(60)) == pytest.approx((0.0, 3.69 / 60), abs=1e-4)


def test_a_difference_that_is_always_nothing_reaches_to_both_sides():
    found = interval(np.zeros(60), names(60), ends=DIFFERENCES)
    assert found == pytest.approx((-3.69 / 60, 3.69 / 60), abs=1e-4)


def test_equal_fractions_do_not_pass_for_certainty():
    """The means of pictures of one fraction differ in their last digit."""
    found = interval(np.full(51, 0.3), names(17, 3), ends=DIFFERENCES)
    assert found == pytest.approx((0.3 - 3.69 / 17 * 1.3, 0.3 + 3.69 / 17 * 0.7), abs=1e-3)


def test_pictures_that_were_not_seen_may_lie_at_the_other_end():
    found = interval(np.ones(20), names(20), ends=DIFFERENCES)
    assert found == pytest.approx((1 - 2 * 3.69 / 20, 1), abs=1e-3)
    assert interval(np.ones(2), ["a", "b"]) == (0.0, 1.0)


@pytest.mark.parametrize("ends", [SCORES, DIFFERENCES])
def test_an_interval_stays_between_its_ends(ends):
    for scores in ([0.0, 1.0], [1.0, 0.9], [0.0, 0.1]):
        low, high = interval(np.array(scores), ["a", "b"], ends=ends)
        assert ends[0] <= low < statistics.fmean(scores) < high <= ends[1]


@pytest.mark.parametrize("ends", [SCORES, DIFFERENCES])
def test_one_picture_has_no_interval(ends):
    assert interval(np.array([0.0, 1.0, 1.0]), ["a", "a", "a"], ends=ends) == (None, None)
    assert interval_of_tasks([np.ones(3), np.ones(1)], [list("abc"), ["a"]]) == (None, None)
    assert estimate([0.5], ends) == {"mean": 0.5, "low": None, "high": None, "pictures": 1}


def test_a_mean_over_tasks_adds_the_squares_of_their_distances():
    tasks = [np.array([0.0, 1.0] * 20), np.ones(10)]
    pictures = [names(40), names(10)]
    low, high = interval(tasks[0], pictures[0])
    found = interval_of_tasks(tasks, pictures)
    below = math.sqrt((0.5 - low) ** 2 + (3.69 / 10) ** 2) / 2
    assert found == pytest.approx((0.75 - below, 0.75 + (high - 0.5) / 2), abs=1e-4)


def test_a_mean_over_one_task_is_that_of_the_task():
    scores = np.random.default_rng(1).integers(0, 2, 40) * 1.0
    assert interval_of_tasks([scores], [names(40)]) == pytest.approx(interval(scores, names(40)))


@pytest.mark.parametrize(("ends", "expected"), [(SCORES, (0, 0.369)), (DIFFERENCES, (-0.369, 0.369))])
def test_an_estimate_of_what_is_always_nothing_stays_between_its_ends(ends, expected):
    found = estimate([0.0] * 10, ends)
    assert (found["low"], found["high"]) == pytest.approx(expected, abs=1e-3)


def test_an_estimate_leaves_out_pictures_without_a_value():
    found = estimate([0.1, None, 0.2, 0.6])
    low, high = interval(np.array([0.1, 0.2, 0.6]), ["a", "c", "d"])
    assert found == {"mean": pytest.approx(0.3), "low": low, "high": high, "pictures": 3}


def test_no_value_has_no_mean():
    assert estimate([None, None]) == {"mean": None, "low": None, "high": None, "pictures": 0}


def right_answers(rng, pictures):
    """Eight questions a picture, four of five right; some pictures are harder than others."""
    chances = rng.beta(0.8 * 9, 0.2 * 9, pictures)
    return (rng.random((pictures, 8)) < chances[:, None]).ravel() * 1.0


def differences(rng, pictures):
    """Eight questions a picture, of which one in ten is lost and one in fifty won."""
    return rng.choice([-1.0, 0.0, 1.0], pictures * 8, p=[0.1, 0.88, 0.02])


@pytest.mark.parametrize(
    ("draw", "ends", "mean"), [(right_answers, SCORES, 0.8), (differences, DIFFERENCES, -0.08)]
)
@pytest.mark.parametrize("pictures", [10, 50])
def test_intervals_hold_the_mean_as_often_as_they_say(draw, ends, mean, pictures):
    rng, draws = np.random.default_rng(3), 1500
    found = [interval(draw(rng, pictures), names(pictures, 8), ends=ends) for _ in range(draws)]
    assert np.mean([low <= mean <= high for low, high in found]) == pytest.approx(0.95, abs=0.015)


def test_the_number_of_pictures_is_that_of_the_textbook():
    """A spread of one and an effect of a half: ((1.960 + 0.842) / 0.5) ** 2 = 31.4 draws."""
    each = np.array([1.0, -1.0] * 500)
    assert pictures_needed(each, names(1000), 0.5) == 32
    assert pictures_needed(each, names(1000), 0.25) == 126
    # Two equal questions about a picture say no more than one.
    assert pictures_needed(np.repeat(each, 2), names(1000, 2), 0.5) == 32


def test_so_many_pictures_tell_the_effect_in_four_draws_of_five():
    pilot, rng = differences(np.random.default_rng(2), 4000), np.random.default_rng(5)
    needed = pictures_needed(pilot, names(4000, 8), 0.04)
    draws = [differences(rng, needed) for _ in range(400)]
    lows = [interval(each, names(needed, 8), ends=DIFFERENCES)[0] for each in draws]
    assert np.mean([low > -0.08 - 0.04 for low in lows]) == pytest.approx(0.8, abs=0.05)


def test_if_nothing_differs_it_takes_what_leaves_no_more_unseen():
    needed = pictures_needed(np.zeros(30), names(2, 15), 0.03)
    assert margin(needed) <= 0.03 < margin(needed - 1)


def test_two_pictures_that_agree_by_chance_do_not_make_few_enough():
    """Both lose five of fifteen: as many as of independent questions, where their means do not differ."""
    each = np.tile([-1.0] * 5 + [0.0] * 10, 2)
    variance = each.var() * 30 / 29 / 15
    assert pictures_needed(each, names(2, 15), 0.03) == math.ceil((2.8016 / 0.03) ** 2 * variance)


def test_no_number_of_pictures_tells_nothing_from_nothing():
    assert pictures_needed(np.zeros(30), names(30), 0.0) is None


def test_as_many_are_needed_as_are_believed():
    assert pictures_needed(np.array([0.01, -0.01] * 20), names(40), 0.9) == FEWEST_PICTURES


def f1(answers):
    """Of pairs (said, right)."""
    both = sum(said and right for said, right in answers)
    return 2 * both / max(1, sum(said + right for said, right in answers))


def test_a_score_that_is_no_mean_has_the_interval_that_pictures_drawn_again_give():
    rng = np.random.default_rng(3)
    answers = [(int(rng.random() < 0.3 + 0.5 * right), right) for right in rng.integers(0, 2, 400)]
    low, high = Resampled.of(lambda places: f1([answers[i] for i in places]), names(400)).interval()
    drawn = [f1([answers[i] for i in rng.integers(0, 400, 400)]) for _ in range(2000)]
    assert high - low == pytest.approx(np.subtract(*np.quantile(drawn, [0.975, 0.025])), rel=0.4)
    assert low < f1(answers) < high


def test_leaving_groups_of_pictures_out_gives_a_mean_the_error_of_a_mean():
    scores = np.random.default_rng(5).random(20)
    low, high = Resampled.of(lambda places: scores[list(places)].mean(), names(20)).interval()
    reach = 2.093024 * scores.std(ddof=1) / math.sqrt(20)
    assert (low, high) == pytest.approx((scores.mean() - reach, scores.mean() + reach), abs=1e-4)


def test_questions_about_one_picture_are_left_out_together():
    seen = []
    Resampled.of(lambda places: seen.append([*places]) or 0.0, names(3, each=2))
    assert seen == [[2, 3, 4, 5], [0, 1, 4, 5], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]]


def test_a_score_that_no_group_changes_has_no_interval():
    assert Resampled.of(lambda places: 0.0, names(30)).interval() == (None, None)
    assert Resampled.of(len, names(1)).interval() == (None, None)
