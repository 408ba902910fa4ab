"""The gate of second turns: the same questions, each after another one about the same pictures."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from wordsight.tasks.base import Example, Task

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def gates(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("gates")


class Named(Task):
    """Three questions about one picture, one about another."""

    def examples(self):
        for picture, question in (("p", "a"), ("p", "b"), ("p", "c"), ("q", "d")):
            yield Example((), picture, question, question.upper(), "letters")


def test_a_second_turn_follows_another_question_about_the_same_pictures(gates):
    found = gates.second_turns(Named(), Named().first(None))
    assert {i: (e.question, e.turns) for i, e in found.items()} == {
        0: ("a", (("c", "C"),)),
        1: ("b", (("a", "A"),)),
        2: ("c", (("b", "B"),)),
    }


def test_turns_are_compared_on_the_same_questions(gates, embedded):
    """Each once; first turns are right by the model's answers of these, or wrong by ours."""
    task = gates.Scenes(pictures=2)
    asked = task.first(4)
    right = np.array([example.type == asked[0].type for example in asked], dtype=float)
    found = gates.by_turn(embedded, task, asked, right)
    assert {kind: turns["first"] for kind, turns in found.items()} == {
        example.type: float(example.type == asked[0].type) for example in asked
    }
    assert all(0 <= turns["second"] <= 1 for turns in found.values())


def test_true_objects_are_beside_random_tokens_of_the_same_questions(gates, embedded, monkeypatch):
    monkeypatch.setattr(gates, "QUESTIONS", 12)
    found = gates.true_objects(embedded)
    assert found["difference"] == pytest.approx(found["true_objects"] - found["random"])
    assert found["low"] < found["difference"] < found["high"]
