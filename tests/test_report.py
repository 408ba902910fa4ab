"""Tables say what the rows say."""

import io

import pytest
from rich.console import Console

from wordsight.report import COLUMNS, calibration_tables, markdown_table, terminal_table

WHOLE = {
    "task": "scenes",
    "pruner": "none",
    "keep": 1.0,
    "tokens_kept": 144.0,
    "accuracy": 0.81,
    "low": 0.785,
    "high": 0.834,
    "retention": 1.0,
    "blind": 0.402,
    "difference_to": {},
}
DROPPED = WHOLE | {
    "pruner": "random",
    "keep": 0.1,
    "tokens_kept": 14.0,
    "accuracy": 0.6,
    "low": 0.55,
    "high": 0.65,
    "retention": 0.7407,
    "difference_to": {"none": [-0.21, -0.3, -0.1]},
}
CHOSEN = DROPPED | {
    "pruner": "codebook:codebook=books/demo,rule=double_softmax",
    "keep": 14,
    "accuracy": 0.7,
    "retention": None,
    "difference_to": {"none": [-0.11, -0.2, -0.02], "random": [0.1, 0.04, 0.155]},
}
OTHER = WHOLE | {"task": "easy_vqa", "blind": 0.667}
ROWS = [WHOLE, DROPPED, CHOSEN, OTHER]
CELLS = [
    ["scenes", "none", "100%", "144.0", "0.810 [0.785, 0.834]", "100%", ""],
    ["scenes", "random", "10%", "14.0", "0.600 [0.550, 0.650]", "74%", ""],
    [
        "scenes",
        "codebook:codebook=books/demo,rule=double_softmax",
        "14",
        "14.0",
        "0.700 [0.550, 0.650]",
        "-",
        "+0.100 [+0.040, +0.155]",
    ],
    ["scenes", "(blind)", "0%", "0.0", "0.402", "", ""],
    ["easy_vqa", "none", "100%", "144.0", "0.810 [0.785, 0.834]", "100%", ""],
    ["easy_vqa", "(blind)", "0%", "0.0", "0.667", "", ""],
]


def test_the_markdown_table_says_what_the_rows_say():
    head, rule, *lines = markdown_table(ROWS).splitlines()
    assert [cell.strip() for cell in head.strip("|").split("|")] == list(COLUMNS)
    assert rule.count("---") == len(COLUMNS)
    assert [[cell.strip() for cell in line[1:-1].split("|")] for line in lines] == CELLS


def test_the_terminal_table_says_what_the_rows_say():
    screen = io.StringIO()
    Console(file=screen, width=300).print(terminal_table(ROWS))
    head, *lines = screen.getvalue().splitlines()
    assert head.split() == " ".join(COLUMNS).split()
    assert [line.split() for line in lines] == [" ".join(cells).split() for cells in CELLS]


def test_the_blind_score_is_the_last_line_of_every_task():
    told = list(terminal_table(ROWS).columns[1].cells)
    assert [i for i, cell in enumerate(told) if str(cell) == "(blind)"] == [3, 5]


def test_square_brackets_in_the_name_of_a_pruner_are_shown():
    screen = io.StringIO()
    Console(file=screen, width=300).print(
        terminal_table([WHOLE | {"pruner": "codebook:codebook=[old]/book"}])
    )
    assert "codebook:codebook=[old]/book" in screen.getvalue()


RECORD = {
    "pays": True,
    "choosing": {"certainty q0.3": 0.6, "global q0.5": 0.655, "paper": 0.5},
    "testing": {"all visual tokens": 0.9, "none": 0.3, "global q0.5": 0.65, "random tokens": 0.55},
    "difference_to": {"random tokens": [0.1, 0.04, 0.155]},
    "questions": {"choosing": 300, "testing": 298},
    "keeps": [0.2, 0.05],
}


def told(record):
    screen = io.StringIO()
    Console(file=screen, width=200).print(*calibration_tables(record), sep="\n")
    return [" ".join(line.strip("│").replace("│", " ").split()) for line in screen.getvalue().splitlines()]


def test_the_tables_of_a_calibration_say_what_its_record_says():
    lines = told(RECORD)
    assert [line for line in lines if " 0." in line] == [
        *("global q0.5 0.655", "certainty q0.3 0.600", "paper 0.500"),
        *("all visual tokens 0.900", "none 0.300", "global q0.5 0.650"),
        "random tokens 0.550 +0.100 [+0.040, +0.155]",
    ]
    assert any("300 questions that choose" in line for line in lines)
    assert any("298 questions that test" in line for line in lines)


@pytest.mark.parametrize(("pays", "verdict"), [(True, "pays"), (False, "does not pay")])
def test_the_tables_of_a_calibration_end_with_its_verdict(pays, verdict):
    last = told(RECORD | {"pays": pays})[-1]
    assert last == f"The best codebook {verdict} on this model and task, mean over 20%, 5% of tokens."


def test_no_rows_are_an_empty_table():
    assert len(markdown_table([]).splitlines()) == 2
