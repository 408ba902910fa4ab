"""Races of made-up candidates: how often the best is dropped, and how early the others are."""

import math

import numpy as np
import pytest

from wordsight.evaluation.racing import BETS, log_wealth, losers, race

LEVEL = 0.05


def slow_wealth(behind):
    """One purse for each bet, filled picture after picture."""
    purses = [1 / len(BETS)] * len(BETS)
    for difference in behind:
        purses = [purse + purse * bet * difference for purse, bet in zip(purses, BETS, strict=True)]
    return sum(purses)


@pytest.mark.parametrize("count", [0, 1, 7, 60])
def test_the_wealth_is_that_of_a_gambler_who_bets_picture_by_picture(count):
    behind = np.random.default_rng(count).uniform(-1, 1, count)
    assert math.exp(log_wealth(behind)) == pytest.approx(slow_wealth(behind))


def test_nobody_is_ever_ruined_or_too_rich_to_count():
    assert np.isfinite([log_wealth(np.full(5000, sign)) for sign in (-1.0, 0.0, 1.0)]).all()
    assert log_wealth(np.zeros(50)) == pytest.approx(0)


def test_a_fair_game_makes_nobody_rich_on_average():
    """All 3^6 courses of a game with chances .3, .4, .3 of -1, 0, 1: the mean wealth is exactly 1."""
    total = 0.0
    for course in np.ndindex(*[3] * 6):
        chance = math.prod((0.3, 0.4, 0.3)[step] for step in course)
        total += chance * math.exp(log_wealth(np.array(course) - 1.0))
    assert total == pytest.approx(1)


def answered(rng, qualities, pictures, questions=4):
    """Shares of right answers (candidates, pictures); what is hard for one is hard for all."""
    hard = rng.normal(0, 0.25, pictures)
    chances = np.clip(np.array(qualities)[:, None] + hard, 0, 1)
    return rng.binomial(questions, chances) / questions


def run(values, size, level=LEVEL):
    """A race over these values in rounds of so many pictures."""
    starts = range(0, values.shape[1], size)
    names = [str(i) for i in range(len(values))]
    return race(
        names,
        starts,
        lambda name, start: values[int(name), start : start + size],
        level=level,
    )


def drops(qualities, size, *, questions=4, level=LEVEL):
    """In which share of races candidate 0 is dropped."""
    rng = np.random.default_rng(0)
    found = (run(answered(rng, qualities, 100, questions), size, level).left for _ in range(150))
    return sum("0" not in left for left in found) / 150


@pytest.mark.parametrize(
    "qualities", [[0.6] * 8, [0.6] * 2, [0.6, 0.59, 0.58, 0.55, 0.5, 0.3], [0.95] + [0.94] * 5]
)
def test_the_best_is_dropped_in_at_most_one_race_of_twenty(qualities):
    assert drops(qualities, 8) <= LEVEL


def test_looking_after_every_picture_drops_the_best_no_more_often():
    assert drops([0.6] * 2, 1, questions=1) <= LEVEL


def test_the_level_is_the_limit_of_errors_that_do_happen():
    assert 0.03 < drops([0.6, 0.6], 4, questions=1, level=0.3) <= 0.3


def test_a_much_worse_candidate_is_dropped_early_and_a_little_worse_one_later():
    rng, asked = np.random.default_rng(1), []
    for _ in range(50):
        outcome = run(answered(rng, [0.9, 0.7, 0.4], 400), 5)
        asked.append([len(outcome.values[name]) for name in "012"])
    assert np.all(np.median(asked, 0)[1:] == sorted(np.median(asked, 0)[1:], reverse=True))
    assert np.median(asked, 0)[2] <= 40
    assert np.median(asked, 0)[1] <= 100


def test_a_race_ends_when_one_is_left():
    outcome = run(np.array([[1.0] * 500, [0.0] * 500]), 10)
    assert outcome.left == ("0",)
    assert len(outcome.values["0"]) == len(outcome.values["1"]) < 30


def test_what_is_dropped_is_asked_no_more():
    values = answered(np.random.default_rng(2), [0.8, 0.8, 0.1], 200)
    asked = []
    race(
        ["0", "1", "2"],
        range(0, 200, 10),
        lambda name, start: asked.append(name) or values[int(name), start : start + 10],
    )
    assert asked.count("2") < asked.count("0") == asked.count("1") == 20


def test_equal_candidates_all_stay():
    assert run(np.tile(np.random.default_rng(0).random(300), (5, 1)), 10).left == tuple("01234")


def test_the_leader_is_no_loser_and_the_level_decides():
    values = {"a": np.ones(6), "b": np.zeros(6)}
    wealth = slow_wealth(np.ones(6))
    assert losers(values, 1.01 / wealth) == {"b"}
    assert losers(values, 0.99 / wealth) == set()


def test_the_order_tells_who_was_left_then_who_lasted_longest():
    means = [0.2, 0.9, 0.7, 0.88]
    outcome = run(answered(np.random.default_rng(3), means, 150), 10)
    assert set(outcome.left) >= {"1"}
    assert outcome.order[-1] == "0"
    assert set(outcome.order[: len(outcome.left)]) == set(outcome.left)
    lasted = [len(outcome.values[name]) for name in outcome.order]
    assert lasted == sorted(lasted, reverse=True)


def test_a_single_candidate_is_left():
    assert run(np.ones((1, 30)), 10).left == ("0",)
