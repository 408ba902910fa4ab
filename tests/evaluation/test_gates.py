"""The gate of second turns: the same questions, each after another one about the same pictures."""

from importlib import import_module
from pathlib import Path

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
    assert [(e.question, e.turns) for e in found] == [
        ("a", (("c", "C"),)),
        ("b", (("a", "A"),)),
        ("c", (("b", "B"),)),
    ]


def test_turns_are_compared_on_the_same_questions(gates, embedded):
    task = gates.Scenes(pictures=2)
    asked = task.first(4)
    found = gates.by_turn(embedded, task, asked)
    assert set(found) == {example.type for example in asked}
    assert all(0 <= value <= 1 for turns in found.values() for value in turns.values())
