"""The tables of a calibration say what its record says."""

import io

import pytest
from rich.console import Console

from wordsight.pruners import make
from wordsight.reports.calibration import calibration_tables

RECORD = {
    "pays": True,
    "choosing": {"certainty q0.3": 0.6, "global q0.5": 0.655, "paper": 0.5},
    "testing": {"all visual tokens": 0.9, "none": 0.3, "global q0.5": 0.65, "random tokens": 0.55},
    "difference_to": {"random tokens": [0.1, 0.04, 0.155]},
    "beside_diversity": {
        "pays": False,
        "weight": 0.3,
        "random_books_weight": 0,
        "divprune": 0.7,
        "choosing": [{"weight": 0.3, "accuracy": 0.75, "random_books": 0.695}],
        "testing": {"codebook_mmr:weight=0.3": 0.755, "divprune": 0.705},
        "difference_to": {"divprune": [0.05, -0.01, 0.09]},
    },
    "questions": {"choosing": 300, "testing": 298},
    "pictures": 150,
    "enough_pictures": True,
    "keeps": [0.2, 0.05],
    "silence": {"share": 0.04, "tokens": 1440, "pictures": 30, "codebook_likely": False},
}


def printed(record):
    screen = io.StringIO()
    Console(file=screen, width=200).print(*calibration_tables(record), sep="\n")
    return [" ".join(line.strip("│").replace("│", " ").split()) for line in screen.getvalue().splitlines()]


def test_the_tables_of_a_calibration_say_what_its_record_says():
    lines = printed(RECORD)
    assert [line for line in lines if " 0." in line] == [
        *("global q0.5 0.655", "certainty q0.3 0.600", "paper 0.500"),
        *("all visual tokens 0.900", "none 0.300", "global q0.5 0.650"),
        "random tokens 0.550 +0.100 [+0.040, +0.155]",
        *("0 (divprune) 0.700", "0.3 0.750 0.695"),
        *("codebook_mmr:weight=0.3 0.755", "divprune 0.705 +0.050 [-0.010, +0.090]"),
    ]
    assert any("300 questions that choose" in line for line in lines)
    assert any("298 questions that test" in line for line in lines)


ALONE, BESIDE = "(--pruner codebook:codebook=FOLDER)", "(--pruner codebook_mmr:weight=0.3,codebook=FOLDER)"


@pytest.mark.parametrize(
    ("alone", "beside", "said"),
    [
        (True, True, f"pays alone {ALONE}, and pays beside diversity {BESIDE}"),
        (True, False, f"pays alone {ALONE}, and does not pay beside diversity"),
        (False, True, f"does not pay alone, but pays beside diversity {BESIDE}"),
        (False, False, "does not pay alone, and does not pay beside diversity"),
    ],
)
def test_the_tables_of_a_calibration_end_with_its_verdict(alone, beside, said):
    found = RECORD["beside_diversity"] | {"pays": beside}
    last = printed(RECORD | {"pays": alone, "beside_diversity": found})[-1]
    assert last == f"The best codebook {said}, on this model and task, mean over 20%, 5% of tokens."


@pytest.mark.parametrize("spec", ["codebook:codebook=demo", "codebook_mmr:weight=0.3,codebook=demo"])
def test_the_pruners_of_a_verdict_can_be_given(spec):
    name = f"--pruner {spec.replace('demo', 'FOLDER')}"
    assert any(name in each for each in (ALONE, BESIDE))
    assert make(spec).book.prototypes.ndim == 2


def test_a_weight_that_was_not_tested_has_no_table():
    untested = RECORD["beside_diversity"] | {"weight": 0, "testing": {}, "difference_to": {}}
    lines = printed(RECORD | {"beside_diversity": untested})
    assert sum("questions that test" in line for line in lines) == 1


def test_the_tables_of_a_calibration_say_how_many_tokens_say_nothing():
    line = "4% of 1440 tokens of 30 pictures say nothing: a codebook is unlikely to beat random tokens."
    assert printed(RECORD)[-2] == line


def test_a_calibration_on_few_pictures_is_not_to_be_believed():
    lines = printed(RECORD | {"pictures": 19, "enough_pictures": False})
    assert "What is found on 19 pictures, fewer than 20, is not to be believed." in lines
    assert lines[-1].startswith("Too few pictures to tell whether the best codebook pays on this model")
    assert not any("believed" in line for line in printed(RECORD))
