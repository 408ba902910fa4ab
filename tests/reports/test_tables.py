"""Tables say what the rows say, in the terminal, in Markdown and in LaTeX."""

import io
import re

import pytest
from rich.console import Console

from wordsight.reports.formats import escaped, latex, markdown, terminal
from wordsight.reports.tables import Table, comparison, contributions, summary, tables, times

WHOLE = {
    "model": "demo",
    "task": "scenes",
    "tasks": 1,
    "pruner": "none",
    "keep": 1.0,
    "tokens": None,
    "tokens_kept": 144.0,
    "tokens_total": 144.0,
    "accuracy": 0.81,
    "low": 0.785,
    "high": 0.834,
    "retention": 1.0,
    "unpruned": 0.81,
    "blind": 0.402,
    "image_contribution": 1.0149,
    "difference_to": {},
    "split": None,
    "drops_all": 0,
    "questions": 60,
    "pictures": 25,
    "timing": None,
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
    "split": {"easy": {"accuracy": 0.7, "questions": 50}, "hard": {"accuracy": 0.1, "questions": 10}},
}
CHOSEN = DROPPED | {
    "pruner": "codebook:codebook=books/demo,threshold=0.1",
    "keep": None,
    "tokens": 14,
    "accuracy": 0.7,
    "retention": None,
    "difference_to": {"none": [-0.11, -0.2, -0.02], "random": [0.1, 0.04, 0.155]},
    "split": {"easy": {"accuracy": 0.75, "questions": 60}, "hard": {"accuracy": None, "questions": 0}},
    "drops_all": 2,
}
OTHER = WHOLE | {"task": "easy_vqa", "blind": 0.0, "image_contribution": None}
ROWS = [WHOLE, DROPPED, CHOSEN, OTHER]
HEAD = [
    *("task", "pruner", "keep", "tokens", "accuracy [95 %]", "kept quality", "minus unpruned [95 %]"),
    *("minus random [95 %]", "easy (questions)", "hard (questions)"),
]
NOTHING = [""] * 4
CELLS = [
    ["scenes", "none", "100%", "144.0", "0.810 [0.785, 0.834]", "100%", *NOTHING],
    [
        *("scenes", "random", "10%", "14.0", "0.600 [0.550, 0.650]", "74%"),
        *("-0.210 [-0.300, -0.100]", "", "0.700 (50)", "0.100 (10)"),
    ],
    [
        *("scenes", "codebook:codebook=books/demo,threshold=0.1", "14", "14.0", "0.700 [0.550, 0.650]", "-"),
        *("-0.110 [-0.200, -0.020]", "+0.100 [+0.040, +0.155]", "0.750 (60)", "- (0)"),
    ],
    ["scenes", "(blind)", "0%", "0.0", "0.402", "", *NOTHING],
    ["easy_vqa", "none", "100%", "144.0", "0.810 [0.785, 0.834]", "100%", *NOTHING],
    ["easy_vqa", "(blind)", "0%", "0.0", "0.000", "", *NOTHING],
]
RESCUE = (
    "codebook:codebook=books/demo,threshold=0.1 at keep 14 on scenes: the threshold alone would have "
    "dropped all tokens of 2 of 25 pictures; one of each was kept."
)


def timed(row, ratio, note):
    spans = {"vision": 20.0, "selection": 1.5, "prefill": 10.25, "decode": 40.0, "total": 71.75}
    work = {"kv_cache_bytes": 2_500_000, "prefill_flops": 12_340_000_000}
    peak = {"peak_memory_bytes": None if note else 3_000_000_000, "peak_memory_note": note}
    return row | {
        "timing": {
            "rounds": 7,
            "batches": [{"batch": 1, "milliseconds": spans, "ratio": ratio, **work, **peak}],
        }
    }


RATIO = {
    "vision": [1.0, 0.9, 1.1],
    "prefill": [0.5, 0.4, 0.99],
    "decode": [0.98, 0.95, 1.0],
    "total": [1.3, 1.1, 1.5],
}


def shown(table):
    screen = io.StringIO()
    Console(file=screen, width=400).print(terminal(table))
    return screen.getvalue().splitlines()


def test_how_often_yes_is_said_is_a_table_where_that_or_no_is_right():
    assert "Answers that are yes" not in [table.title for table in tables(ROWS)]
    found = tables([WHOLE | {"yes_ratio": 0.5}, DROPPED | {"yes_ratio": 0.625}, OTHER])
    (shown,) = (table for table in found if table.title == "Answers that are yes")
    assert shown.head == ("task", "pruner", "keep", "share")
    assert shown.body == [("scenes", "none", "100%", "0.500"), ("scenes", "random", "10%", "0.625")]


def test_the_comparison_says_what_the_rows_say():
    table = comparison(ROWS)
    assert list(table.head) == HEAD
    assert [list(cells) for cells in table.body] == CELLS


def test_a_pruner_that_kept_one_token_in_spite_of_its_threshold_is_named():
    assert comparison(ROWS).notes == (RESCUE,)


def test_several_models_are_told_apart_in_a_column():
    table = comparison([WHOLE, WHOLE | {"model": "other"}])
    assert table.head[0] == "model"
    assert [cells[:3] for cells in table.body] == [
        *[("demo", "scenes", "none"), ("demo", "scenes", "(blind)")],
        *[("other", "scenes", "none"), ("other", "scenes", "(blind)")],
    ]


def test_what_the_pictures_add_is_told_once_for_every_task():
    table = contributions(ROWS)
    assert table.head == (
        "task",
        "questions",
        "pictures",
        "all visual tokens",
        "none (blind)",
        "added by the pictures",
    )
    assert list(table.body) == [
        ("scenes", "60", "25", "0.810", "0.402", "+0.408"),
        ("easy_vqa", "60", "25", "0.810", "0.000", "+0.810"),
    ]


def test_times_say_no_gain_where_the_interval_of_the_ratio_reaches_one():
    table = times([timed(DROPPED, RATIO, None)])
    cells = dict(zip(table.head, table.body[0], strict=True))
    assert cells["vision ratio"] == "no gain: 1.00 [0.90, 1.10]"
    assert cells["prefill ratio"] == "0.50 [0.40, 0.99]"
    assert cells["decode ratio"] == "no gain: 0.98 [0.95, 1.00]"
    assert cells["total ratio"] == "no gain: 1.30 [1.10, 1.50]"
    assert (cells["selection ms"], cells["total ms"]) == ("1.5", "71.8")
    assert (cells["KV cache MB"], cells["prefill GFLOPs"], cells["peak memory MB"]) == (
        "2.50",
        "12.34",
        "3000",
    )


def test_times_say_why_there_is_no_peak_memory():
    table = times([timed(WHOLE, None, "there is no GPU")])
    cells = dict(zip(table.head, table.body[0], strict=True))
    assert (cells["peak memory MB"], cells["total ratio"]) == ("-", "")
    assert table.notes[-1] == "Peak memory is not told: there is no GPU."


def test_times_are_told_where_they_were_measured():
    assert [table.title for table in tables(ROWS)] == [
        "By keep, accuracy [95 %]",
        "Accuracy",
        "What the pictures add",
    ]
    assert tables([*ROWS, timed(DROPPED, RATIO, None)])[-1].title == "Time and memory"


def test_markdown_holds_head_cells_and_notes():
    head, rule, *lines = markdown(comparison(ROWS)).splitlines()
    assert [cell.strip() for cell in head.strip("|").split("|")] == HEAD
    assert rule.count("---") == len(HEAD)
    assert [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[: len(CELLS)]] == CELLS
    assert lines[len(CELLS) :] == ["", RESCUE]


def test_a_pipe_in_a_cell_does_not_end_it_in_markdown():
    assert markdown(Table("t", ("a",), [("x|y",)])).splitlines()[-1] == r"| x\|y |"


def test_the_terminal_shows_title_head_cells_and_notes():
    title, head, *lines = shown(comparison(ROWS))
    assert (title.strip(), head.split()) == ("Accuracy", " ".join(HEAD).split())
    assert [line.split() for line in lines[: len(CELLS)]] == [" ".join(cells).split() for cells in CELLS]
    assert " ".join(lines[len(CELLS) :]) == RESCUE


def test_square_brackets_in_the_name_of_a_pruner_are_shown():
    lines = shown(comparison([WHOLE | {"pruner": "codebook:codebook=[old]/book"}]))
    assert any("codebook:codebook=[old]/book" in line for line in lines)


def test_no_rows_are_an_empty_table():
    assert len(markdown(comparison([])).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("a_b", r"a\_b"),
        ("50%", r"50\%"),
        ("R&D #1 {x} $", r"R\&D \#1 \{x\} \$"),
        ("~/books^2", r"\textasciitilde{}/books\textasciicircum{}2"),
        (r"C:\books", r"C:\textbackslash{}books"),
        ("codebook:codebook=[old]/book", "codebook:codebook=[old]/book"),
    ],
)
def test_what_latex_would_read_as_a_command_is_escaped(text, printed):
    assert escaped(text) == printed


def test_latex_has_a_row_of_as_many_cells_for_every_row():
    text = latex(comparison([WHOLE | {"task": r"my_task:path=C:\x%y"}]))
    body = text.partition(r"\midrule")[2].partition(r"\bottomrule")[0].strip().splitlines()
    columns = re.search(r"\\begin\{tabular\}\{(l+)\}", text)[1]
    assert all(line.count(" & ") + 1 == len(columns) and line.endswith(r"\\") for line in body)
    assert body[0].startswith(r"{my\_task:path=C:\textbackslash{}x\%y} & {none} & {100\%}")
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]


def test_no_sign_of_a_latex_table_is_left_unescaped():
    text = latex(comparison(ROWS))
    told = [line for line in text.splitlines() if line.startswith(("{", r"\caption"))]
    assert not [line for line in told if re.search(r"(?<!\\)[%$#_^~]", line)]


def test_the_summary_has_a_line_for_every_pruner_and_a_column_for_every_keep():
    made = [
        WHOLE | {"accuracy": 0.9, "low": 0.8, "high": 1.0, "blind": 0.4},
        *(
            WHOLE | {"pruner": name, "keep": keep, "accuracy": keep + bonus, "low": 0.0, "high": 1.0}
            for keep in (0.5, 0.1)
            for name, bonus in (("uniform", 0.1), ("random", 0.0))
        ),
    ]
    table = summary(made)
    assert table.head == ("task", "pruner", "50%", "10%")
    assert table.body == [
        ("scenes", "none", *["0.900 [0.800, 1.000]"] * 2),
        ("scenes", "uniform", "0.600 [0.000, 1.000]", "0.200 [0.000, 1.000]"),
        ("scenes", "random", "0.500 [0.000, 1.000]", "0.100 [0.000, 1.000]"),
        ("scenes", "(blind)", "0.400", "0.400"),
    ]


def test_the_summary_of_several_tasks_is_their_mean():
    mean = WHOLE | {"task": "mean of 2 tasks", "tasks": 2}
    assert {cells[0] for cells in summary([WHOLE, OTHER, mean]).body} == {"mean of 2 tasks"}


def test_a_task_with_few_pictures_is_said_to_be_one():
    few = [row | {"pictures": 19} for row in (WHOLE, DROPPED)]
    notes = comparison([*few, OTHER]).notes
    assert notes[0] == (
        "scenes, 60 questions: What is found on 19 pictures, fewer than 20, is not to be believed."
    )
    assert not any("easy_vqa" in note for note in notes)


def test_the_summary_says_which_pruners_read_more_than_their_keep():
    inside = WHOLE | {"pruner": "fastv", "keep": 0.1, "tokens_kept": 79.2, "tokens_total": 144.0}
    more = inside | {"keep": 0.5, "tokens_kept": 108.0}
    before = inside | {"pruner": "uniform", "tokens_kept": 14.0}
    notes = summary([WHOLE, more, inside, before]).notes
    assert notes == ("fastv reads 108.0 at 50%, 79.2 at 10%, of 144.0 tokens (the mean over layers).",)
