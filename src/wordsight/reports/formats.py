"""Formats: a table for the terminal, for Markdown and for LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence

from wordsight.reports.fitting import FittedTable
from wordsight.reports.tables import Table

ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def terminal(table: Table) -> FittedTable:
    """The table and its notes for rich."""
    return FittedTable(table)


def markdown(table: Table) -> str:
    """The table and its notes; a pipe in a cell is escaped."""
    lines = [_piped(table.head), "|" + "---|" * len(table.head), *map(_piped, table.body)]
    return "\n".join([*lines, *(f"\n{note}" for note in table.notes)]) + "\n"


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def latex(table: Table) -> str:
    """A table environment with the rules of booktabs; everything that LaTeX would read as a command is
    escaped.
    """
    caption = " ".join([f"{table.title}.", *table.notes])
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(caption)}}}",
        rf"\begin{{tabular}}{{{'l' * len(table.head)}}}",
        r"\toprule",
        _ended(table.head),
        r"\midrule",
        *map(_ended, table.body),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "% needs \\usepackage{booktabs}\n" + "\n".join(lines) + "\n"


def _ended(cells: Sequence[str]) -> str:
    # Braces: a row that began with a bracket would be read as an option of the line break before it.
    return " & ".join(f"{{{escaped(cell)}}}" for cell in cells) + r" \\"


def escaped(text: str) -> str:
    """The text as LaTeX prints it."""
    return re.sub(r"[\\~^&%$#_{}]", lambda sign: ESCAPES[sign[0]], text)
