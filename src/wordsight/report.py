"""Comparison tables: for the terminal and for Markdown, from the rows of `evaluate.compare`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

COLUMNS = ("task", "pruner", "keep", "tokens", "accuracy [95 %]", "kept quality", "minus random [95 %]")


def terminal_table(rows: list[dict[str, Any]]) -> Table:
    """The rows as a rich table; the blind score of a task is its last line."""
    table = Table(*COLUMNS, box=None, pad_edge=False)
    for cells in _cells(rows):
        table.add_row(*(Text(cell) for cell in cells))
    return table


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    return "\n".join([*lines, *(f"| {' | '.join(cells)} |" for cells in _cells(rows))]) + "\n"


def _cells(rows: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for i, row in enumerate(rows):
        yield (
            row["task"],
            row["pruner"],
            f"{row['keep']:.0%}" if isinstance(row["keep"], float) else str(row["keep"]),
            f"{row['tokens_kept']:.1f}",
            f"{row['accuracy']:.3f} [{row['low']:.3f}, {row['high']:.3f}]",
            f"{row['retention']:.0%}" if row["retention"] is not None else "-",
            signed(row["difference_to"].get("random")),
        )
        if i + 1 == len(rows) or rows[i + 1]["task"] != row["task"]:
            yield (row["task"], "(blind)", "0%", "0.0", f"{row['blind']:.3f}", "", "")


def signed(difference: list[float] | None) -> str:
    """A difference with its interval, empty if there is none."""
    if difference is None:
        return ""
    mean, low, high = difference
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def calibration_tables(record: dict[str, Any]) -> list[Any]:
    """The record of a calibration for the terminal, the verdict last."""
    tried = Table(
        "criterion", "accuracy", title=f"on {record['questions']['choosing']} questions that choose"
    )
    for name, accuracy in sorted(record["choosing"].items(), key=lambda item: -item[1]):
        tried.add_row(name, f"{accuracy:.3f}")
    tested = Table(
        "", "accuracy", "best minus this", title=f"on {record['questions']['testing']} questions that test"
    )
    for name, accuracy in record["testing"].items():
        gap = record["difference_to"].get(name)
        tested.add_row(name, f"{accuracy:.3f}", signed(gap))
    verdict = "pays" if record["pays"] else "does not pay"
    shares = ", ".join(f"{keep:.0%}" for keep in record["keeps"])
    return [
        tried,
        tested,
        f"The best codebook {verdict} on this model and task, mean over {shares} of tokens.",
    ]
