"""The finding in words, of choices that are made up and of a model's own."""

import pytest

from wordsight.explain.finding import finding, lost_words
from wordsight.explain.pruner_choices import pruner_choices
from wordsight.pruners.uniform import Uniform

SAID = ["pig", "pig", "sky", "sky", "sky", "star", None, None]


def choice(kept, answer="two", right=None):
    return {"kept": kept, "answer": answer, "right": right}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (choice([0, 2]), "2 of 8 tokens give the same answer; no word that several tokens say is lost."),
        (choice([2]), "1 of 8 tokens gives the same answer; the word “pig” is lost."),
        (choice([6], "", False),
         "1 of 8 tokens changes the answer to “(blank)”, which is wrong; "
         "the words “sky” and “pig” are lost."),
        (choice([0, 2], "two", True),
         "2 of 8 tokens give the same answer, which is right; no word that several tokens say is lost."),
    ],
)  # fmt: skip
def test_a_finding_says_what_a_choice_costs(given, sentence):
    assert finding(given, {"answer": "two"}, SAID) == sentence


def test_many_lost_words_are_counted():
    said = [word for word in ("ant", "bee", "cat", "dog", "eel") for _ in range(2)]
    found = finding(choice([0]), {"answer": "two"}, [*said, "ant"])
    assert found.endswith("the words “bee”, “cat”, “dog” and 1 more are lost.")


def test_a_word_that_one_token_says_is_not_missed():
    assert lost_words([0, 2], SAID) == []
    assert lost_words([], SAID) == ["sky", "pig"]


def test_an_answer_is_right_by_the_scorer_of_what_is_true(tiny, prompt):
    found = pruner_choices(tiny, prompt, [Uniform()], (1.0,))
    assert found["right"] is found["methods"][0]["choices"][0]["right"] is None
    for truth, is_right in ((("x", found["answer"]), True), (("surely not",), False)):
        found = pruner_choices(tiny, prompt, [Uniform()], (1.0,), truth)
        assert found["right"] is found["methods"][0]["choices"][0]["right"] is is_right
