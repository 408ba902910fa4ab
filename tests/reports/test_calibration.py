"""The tables of a calibration say what its record says."""

import io

import pytest
from rich.console import Console

from wordsight.reports.calibration import calibration_tables

RECORD = {
    "pays": True,
    "choosing": {"certainty q0.3": 0.6, "global q0.5": 0.655, "paper": 0.5},
    "testing": {"all visual tokens": 0.9, "none": 0.3, "global q0.5": 0.65, "random tokens": 0.55},
    "difference_to": {"random tokens": [0.1, 0.04, 0.155]},
    "prior": {
        "pays": True,
        "weight": 1 / 3,
        "choosing": {"0.00": 0.7, "0.33": 0.75},
        "testing": {"0.33": 0.755, "diversity alone": 0.705},
        "difference_to": {"diversity alone": [0.05, 0.01, 0.09]},
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
        *("0.00 0.700", "0.33 0.750"),
        *("0.33 0.755", "diversity alone 0.705 +0.050 [+0.010, +0.090]"),
    ]
    assert any("300 questions that choose" in line for line in lines)
    assert any("298 questions that test" in line for line in lines)


@pytest.mark.parametrize(("pays", "verdict"), [(True, "pays"), (False, "does not pay")])
def test_the_tables_of_a_calibration_end_with_its_verdict(pays, verdict):
    verdicts = printed(RECORD | {"pays": pays})
    assert verdicts[-2] == f"The best codebook {verdict} on this model and task, mean over 20%, 5% of tokens."


def test_the_pruner_to_give_is_told_where_the_book_pays_beside_diversity():
    told = "Beside diversity it pays: --pruner codebook_mmr:codebook=BOOK,weight=0.333."
    assert printed(RECORD)[-1] == told
    not_paying = RECORD | {"prior": RECORD["prior"] | {"pays": False}}
    assert printed(not_paying)[-1] == "It does not pay beside diversity."


def test_the_tables_of_a_calibration_say_how_many_tokens_say_nothing():
    line = "4% of 1440 tokens of 30 pictures say nothing: a codebook is unlikely to beat random tokens."
    assert printed(RECORD)[-3] == line


def test_a_calibration_on_few_pictures_is_not_to_be_believed():
    lines = printed(RECORD | {"pictures": 19, "enough_pictures": False})
    assert "What is found on 19 pictures, fewer than 20, is not to be believed." in lines
    assert lines[-2].startswith("Too few pictures to tell whether the best codebook pays on this model")
    assert lines[-1] == "Too few, too, to tell whether it pays beside diversity."
    assert not any("believed" in line for line in printed(RECORD))
