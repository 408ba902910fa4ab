"""Scores: the examples of docs/scoring.md, and what holds for all answers."""

import html
import re
import unicodedata
from pathlib import Path

import pytest

from wordsight.tasks.scoring import chosen, score, scorer_for

PAGE = (Path(__file__).parents[2] / "docs" / "scoring.md").read_text("utf-8")
ROWS = re.findall(r"^\| (exact|number|yes_no|choice|contains) \| (.+?) \| (.+?) \| (yes|no) \|$", PAGE, re.M)
OPTIONS = {"A": "dog", "B": "cat", "C": "C++"}


def test_the_page_has_examples_of_every_scorer():
    assert {scorer for scorer, *_ in ROWS} == {"exact", "number", "yes_no", "choice", "contains"}
    assert len(ROWS) == PAGE.count("\n| ") - PAGE.count("\n| scorer |")


@pytest.mark.parametrize(("scorer", "answer", "said", "right"), ROWS)
def test_an_example_of_the_page_is_scored_as_it_says(scorer, answer, said, right):
    options = OPTIONS if scorer == "choice" else {}
    assert score(scorer, html.unescape(said), [html.unescape(answer)], options) == (right == "yes")


DIFFERENT = [
    *(
        "5",
        "-5",
        "+5",
        "5%",
        "5‰",
        "$5",
        "€5",
        "-$5",
        "5°",
        ">5",
        "<5",
        "≥5",
        "~5",
        "#5",
        "5!=5",
        "0.5",
        "50",
    ),
    *(
        "1/5",
        "1-5",
        "5^2",
        "5*2",
        "5:2",
        "5²",
        "c",
        "c++",
        "c#",
        "a+",
        "a",
        "r&b",
        "r b",
        "😀",
        "😞",
        "5\u2033",
        "5\u2032",
    ),
    *("की", "कि", "का", "क", "കി", "ക", "ปา", "ป่า", "ป้า", "মা", "ম", "é", "e", "cafe", "café", "1.10", "1,5"),
]


@pytest.mark.parametrize(("scorer", "allowed"), [("exact", set()), ("number", {("5", "+5"), ("+5", "5")})])
def test_what_is_different_is_never_the_same(scorer, allowed):
    pairs = {(said, answer) for said in DIFFERENT for answer in DIFFERENT if said != answer}
    assert {(said, answer) for said, answer in pairs if score(scorer, said, [answer], {})} == allowed


def test_a_number_or_a_letter_is_not_within_what_marks_make_another():
    for said in (
        "-5",
        "+5",
        "5%",
        "$5",
        "5°",
        ">5",
        "#5",
        "0.5",
        "50",
        "1/5",
        "5^2",
        "5*2",
        "5:2",
        "5²",
        "1,5,5%",
    ):
        assert score("contains", f"it is {said} there", ["5"], {}) == (said == "1,5,5%"), said
    for said in ("C++", "C#", "-C/D", "C+", "Ĉ"):
        assert score("contains", f"it is {said} there", ["C"], {}) == 0, said


@pytest.mark.parametrize("scorer", ["exact", "number", "yes_no", "contains"])
@pytest.mark.parametrize("disguise", [str, str.upper, " {}. ".format, '"{}"!'.format, "**{}**".format])
def test_an_answer_is_right_in_any_case_punctuation_and_unicode_form(scorer, disguise):
    for answer in (*DIFFERENT, "yes", "no", "the red car", "straße"):
        for form in ("NFC", "NFD"):
            said = unicodedata.normalize(form, disguise(answer))
            assert score(scorer, said, [answer], {}) == 1, (answer, said)


@pytest.mark.parametrize(
    ("answers", "options", "scorer"),
    [
        (["B"], {"A": "1", "B": "2"}, "choice"),
        (["yes"], {}, "yes_no"),
        (["Yes.", "no"], {}, "yes_no"),
        (["yes", "yeah"], {}, "exact"),
        (["5"], {}, "number"),
        (["-5%", "5 km", "two dogs", "1,000"], {}, "number"),
        (["5", "many"], {}, "exact"),
        (["007"], {}, "exact"),
        (["5:30"], {}, "exact"),
        (["red 5"], {}, "exact"),
        (["5 big dogs"], {}, "exact"),
        (["C++"], {}, "exact"),
    ],
)
def test_the_answers_choose_the_scorer(answers, options, scorer):
    assert scorer_for(answers, options) == scorer


NINE = dict(zip("ABCDEFGHI", ("one", "two", "three", "B", "5", "-5", "C. elegans", "x", "x"), strict=True))


@pytest.mark.parametrize(
    ("said", "letter"),
    [
        ("one", "A"),
        ("B", "D"),  # a text before a letter: a file in which both could be meant is refused
        ("5", "E"),
        ("-5", "F"),
        ("C. elegans", "G"),
        ("C. it is", "C"),
        ("x", None),
        ("I think so", None),
        ("A, C", None),
        ("A and C", None),
        ("A or C", None),
        ("(A), (C)", None),
        ("A\n\nBecause it is.", "A"),
        ("option A", "A"),
        ("The correct answer is: three.", "C"),
        ("Z", None),
        ("A's", None),
        ("A+", None),
        ("", None),
        ("**A**", "A"),
        ("\uff23", "C"),
    ],
)
def test_an_option_is_read_from_what_is_said(said, letter):
    assert chosen(said, NINE) == letter


@pytest.mark.parametrize(
    "text", ["9" * 5000, "a" * 10**5, "-" * 10**4, "1," * 10**4, "\0", "\ud800", "1e999"]
)
def test_no_text_is_too_odd_to_be_scored(text):
    for scorer in ("exact", "number", "yes_no", "contains", "choice"):
        assert score(scorer, text, ["5"], {"A": "5", "B": "6"} if scorer == "choice" else {}) == 0
