"""What is said of made-up records: nothing that their intervals do not support."""

import pytest

from wordsight.evaluation.verdict import advise
from wordsight.reports.recommendation import recommendation_tables

NOT_USED = ["Do not use divprune at 20% for such questions."]


def record(whole=1.0, to_none=(-0.01, -0.02, 0.0), pictures=100, needed=400, speed=(1.5, 1.4, 1.6), **others):
    others = {"random": (0.2, 0.1, 0.3)} | others
    names = ["divprune", *others]
    return {
        "terms": {"budget": 0.2, "tolerance": 0.03, "latency_ms": 60.0, "limit": None, "pictures": None},
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
            "enough_pictures": pictures >= 20,
            "pictures_needed": needed,
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
        (
            {"to_none": (-0.02, -0.04, 0.0)},
            "cannot tell",
            "roughly 400 are needed to tell a loss of 3% from none, here are 100. ",
        ),
        ({"to_none": (-0.02, -0.04, 0.0), "needed": 121}, "cannot tell", "roughly 130 are needed"),
        ({"to_none": (-0.02, -0.04, 0.0), "needed": 2801}, "cannot tell", "roughly 2900 are needed"),
        ({"to_none": (-0.02, -0.04, 0.0), "needed": 100}, "cannot tell", "too near to the tolerance of 3%"),
        ({"to_none": (-0.02, -0.04, 0.0), "needed": None}, "cannot tell", "allow for some tolerance"),
        ({"pictures": 19}, "cannot tell", "here are 19, fewer than 20: nothing is to be believed yet. "),
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
    assert any("do not need their pictures" in line for line in advise(made)["advice"]) == told


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, ["Use --pruner divprune:keep=0.2."]),
        ({"random": (0.1, 0.0, 0.2)}, ["Use --pruner divprune:keep=0.2, or try --pruner random:keep=0.2."]),
        (
            {"pool": (0.1, -0.1, 0.2), "resized": (0.0, -0.1, 0.1)},
            ["Use --pruner divprune:keep=0.2, or try --pruner pool:keep=0.2 or smaller pictures."],
        ),
        ({"pool": (-0.2, -0.3, -0.1)}, ["Use --pruner pool:keep=0.2."]),
        ({"random": (-0.2, -0.3, -0.1), "speed": (0.8, 0.7, 0.9)}, NOT_USED),
        ({"to_none": (-0.2, -0.3, -0.1)}, NOT_USED),
        ({"pictures": 19}, []),
    ],
)
def test_the_advice_ends_with_what_to_use(given, told):
    made = record(**given)
    made["test"]["tokens"]["resized"] = 29.0
    lines = advise(made)["advice"]
    assert [line for line in lines if line.startswith(("Use ", "Do not use "))] == told
    assert not told or lines[-1] == told[0]


def test_what_to_use_has_the_options_of_the_leader():
    made = record()
    for part in (made["test"]["accuracy"], made["test"]["tokens"], made["candidates"]):
        part["scope:alpha=0.0"] = part.pop("divprune")
    made["leader"] = "scope:alpha=0.0"
    assert advise(made)["advice"][-1] == "Use --pruner scope:alpha=0.0,keep=0.2."


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


@pytest.mark.parametrize(("pictures", "is_marked"), [(19, True), (20, False)])
def test_the_table_marks_what_is_not_to_be_believed(pictures, is_marked):
    made = record(pictures=pictures)
    table = recommendation_tables(made | advise(made))[2].table
    assert table.title.startswith("Test split")
    note = f"What is found on {pictures} pictures, fewer than 20, is not to be believed."
    assert table.notes == ((note,) if is_marked else ())


@pytest.mark.parametrize(
    ("speed", "verdict"), [((1.1, 0.9, 1.3), "does not pay"), ((1.1, 1.01, 1.3), "pays")]
)
def test_it_is_the_low_end_of_the_speed_up_that_has_to_be_above_one(speed, verdict):
    assert advise(record(speed=speed))["verdict"] == verdict


@pytest.mark.parametrize(("speed", "told"), [((0.8, 0.6, 0.9), "costs time"), ((0.9, 0.8, 1.1), "no time")])
def test_it_is_the_high_end_of_the_speed_up_that_tells_costs_from_no_gain(speed, told):
    assert told in advise(record(speed=speed))["advice"][0]


def test_the_advice_gives_the_ends_of_its_intervals_in_their_order():
    (first, *_) = advise(record(to_none=(-0.01, -0.02, 0.005), speed=(1.5, 1.4, 1.7)))["advice"]
    assert "-0.010 [-0.020, +0.005]" in first
    assert "1.50 [1.40, 1.70] times as fast" in first
