"""What is said of made-up records: nothing that their intervals do not support."""

import pytest

from wordsight.evaluation.verdict import advise
from wordsight.reports.recommendation import recommendation_tables


def record(whole=1.0, to_none=(-0.01, -0.02, 0.0), pictures=100, speed=(1.5, 1.4, 1.6), **others):
    others = {"random": (0.2, 0.1, 0.3)} | others
    names = ["divprune", *others]
    return {
        "terms": {"budget": 0.2, "tolerance": 0.03, "latency_ms": 60.0, "limit": None},
        "leader": "divprune",
        "validation": 300,
        "milliseconds": {"divprune": 40.0, "scope": 80.0},
        "too_slow": ["scope"],
        "left_out": {"codebook": "no book"},
        "candidates": {
            name: {"questions": 300, "pictures": 100, "accuracy": 0.9, "dropped": False} for name in names
        },
        "test": {
            "questions": 3 * pictures,
            "pictures": pictures,
            "blind": 0.3,
            "accuracy": {"none": whole, **dict.fromkeys(names, whole + to_none[0])},
            "tokens": {"none": 144.0, **dict.fromkeys(names, 29.0)},
            "difference_to": {"none": list(to_none), **{name: list(gap) for name, gap in others.items()}},
        },
        "time": {
            "rounds": 16,
            "unpruned_ms": {"vision": 1.0, "all": 60.0},
            "pruned_ms": {"vision": 1.0, "all": 40.0},
            "speed_up": list(speed),
        },
    }


@pytest.mark.parametrize(
    ("given", "verdict", "told"),
    [
        ({}, "pays", "Pruning pays, within a tolerance of 3%. divprune at 20% keeps 99% of the quality"),
        ({"to_none": (-0.2, -0.3, -0.1)}, "does not pay", "it costs more than 3% of the quality"),
        ({"to_none": (-0.04, -0.06, -0.031)}, "does not pay", "it costs more than 3% of the quality"),
        ({"to_none": (-0.02, -0.04, 0.0)}, "cannot tell", "roughly 400 would be needed"),
        ({"to_none": (-0.04, -0.05, -0.029)}, "cannot tell", "roughly 120 would be needed"),
        ({"to_none": (-0.03, -0.05, -0.01)}, "cannot tell", "more than 10000 would be needed"),
        ({"pictures": 19}, "cannot tell", "roughly 20 would be needed"),
        ({"speed": (1.1, 0.9, 1.2)}, "does not pay", "it saves tokens but no time"),
        ({"speed": (0.8, 0.7, 0.9)}, "does not pay", "it saves tokens but costs time"),
        ({"whole": 0.5, "to_none": (-0.01, -0.02, 0.0)}, "cannot tell", "Too few pictures"),
        ({"whole": 0.0}, "nothing to choose", "answers no question of the test split right"),
    ],
)
def test_the_verdict_follows_from_the_intervals(given, verdict, told):
    found = advise(record(**given))
    assert found["verdict"] == verdict
    assert told in found["advice"][0]
    assert (found["winner"] == "divprune") == (verdict == "pays")


@pytest.mark.parametrize(
    ("others", "winner", "told"),
    [
        (
            {"random": (0.2, 0.1, 0.3)},
            "divprune",
            "divprune is better than random (+0.200 [+0.100, +0.300]).",
        ),
        ({"random": (0.1, 0.0, 0.2)}, None, "random, which costs nothing, shows no significant difference"),
        (
            {"random": (-0.2, -0.3, -0.1)},
            None,
            "divprune, which led on the validation split, is worse than ran",
        ),
        (
            {"uniform": (0.1, -0.1, 0.2)},
            None,
            "uniform, which costs nothing, shows no significant difference",
        ),
        ({"scope": (0.1, -0.1, 0.2)}, "divprune", "scope, the runner-up, shows no significant difference"),
        ({"scope": (0.1, 0.05, 0.2)}, "divprune", "divprune is better than scope"),
    ],
)
def test_a_winner_is_better_than_what_costs_nothing(others, winner, told):
    found = advise(record(**others))
    assert found["winner"] == winner
    assert any(line.startswith(told) for line in found["advice"])


def test_few_pictures_compare_nothing():
    assert not [line for line in advise(record(pictures=19))["advice"] if "better" in line]


@pytest.mark.parametrize(("blind", "told"), [(0.3, False), (0.98, True)])
def test_questions_that_need_no_picture_are_told(blind, told):
    made = record()
    made["test"]["blind"] = blind
    assert ("do not need their pictures" in advise(made)["advice"][-1]) == told


def test_the_tables_end_with_the_advice_and_name_what_was_left_out():
    made = record()
    shown = recommendation_tables(made | advise(made))
    assert shown[-1] == advise(made)["advice"][-1]
    assert "Left out, slower than 60 ms a question: scope (80 ms)." in shown
    assert "Left out: no book." in shown


@pytest.mark.parametrize(
    ("tokens", "winner", "told"),
    [
        (29.0, None, "resized, which costs nothing, shows no significant difference"),
        (
            144.0,
            "divprune",
            "Resized pictures show no significant difference (+0.000 [-0.010, +0.010]), but",
        ),
    ],
)
def test_resized_pictures_are_a_rival_where_the_model_makes_few_tokens_of_them(tokens, winner, told):
    made = record(resized=(0.0, -0.01, 0.01))
    made["test"]["tokens"]["resized"] = tokens
    found = advise(made)
    assert found["winner"] == winner
    assert any(told in line for line in found["advice"])
