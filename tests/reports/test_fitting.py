"""Tables in terminals: whatever their width, every number is there, whole and in its row."""

import io
import re

import pytest
from rich.console import Console

from wordsight.reports.fitting import FittedTable
from wordsight.reports.tables import Table

SPEC = "codebook:codebook=benchmarks/control-codebook,threshold=0.125"
HEAD = ("task", "pruner", "keep", "accuracy [95 %]", "minus unpruned [95 %]", "minus random [95 %]", "ms")
BODY = [
    ("mean of 5 tasks", "none", "100%", "0.917 [0.903, 0.929]", "", "", "1234567.8"),
    (
        "mean of 5 tasks",
        SPEC,
        "5%",
        "0.739 [0.718, 0.761]",
        "-0.178 [-0.201, -0.155]",
        "+0.1 [+0, +0.2]",
        "9.1",
    ),
]
TABLE = Table("Accuracy", HEAD, BODY, ("A note.",), keys=3)


def shown(table, width):
    screen = io.StringIO()
    Console(file=screen, width=width).print(FittedTable(table), crop=False)
    return screen.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 300])
def test_no_number_is_cut(width):
    out = shown(TABLE, width)
    for cells in BODY:
        assert [cell for cell in cells[3:] if cell not in out] == []
    assert "…" not in out
    assert out.count("A note.") == 1


@pytest.mark.parametrize("width", [60, 80, 120, 300])
def test_no_line_is_wider_than_the_terminal(width):
    assert max(map(len, shown(TABLE, width).splitlines())) <= width


def test_a_table_that_fits_is_one():
    lines = shown(TABLE, 300).splitlines()
    assert lines[0].strip() == "Accuracy"
    assert re.split(r"\s{2,}", lines[1].strip()) == list(HEAD)
    assert re.split(r"\s{2,}", lines[3].strip()) == list(BODY[1])


def test_every_part_tells_its_rows_apart():
    out = shown(TABLE, 80)
    parts = out.split("Accuracy (continued)")
    assert len(parts) > 1
    for part in parts:
        assert ("none" in part, "100%" in part, "5%" in part) == (True, True, True)


def test_what_tells_rows_apart_is_folded_not_cut():
    folded = "".join(
        line[:40].replace(" ", "") for line in shown(TABLE, 80).split("(continued)")[0].splitlines()
    )
    for part in ("codebook", "threshold"):
        assert part in folded.replace("\n", "")


def test_brackets_in_a_name_are_no_markup():
    out = shown(Table("[bold]T", ("a [red]", "b"), [("[i]x", "1")]), 80)
    assert all(text in out for text in ("[bold]T", "a [red]", "[i]x"))
