"""Fitting: a table in a terminal of any width, in as many parts as it takes to cut no number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from wordsight.reports.tables import Table

GAP = 2  # between columns
NARROWEST = 8  # what a column of words is folded to


@dataclass(frozen=True)
class FittedTable:
    """The table and its notes for rich: below each other parts of its columns, where all side by side are too
    wide; every part begins with the columns that tell rows apart, folded where they have to be.
    """

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        title = self.table.title
        for widths in _parts(self.table, options.max_width):
            yield Text(title, style="italic")
            yield _drawn(self.table, widths)
            title = f"{self.table.title} (continued)"
        yield from map(Text, self.table.notes)


Widths = dict[int, int]  # of the columns of a part, by their numbers


def _parts(table: Table, width: int) -> Iterator[Widths]:
    cells = [max((cell_len(row[i]) for row in table.body), default=0) for i in range(len(table.head))]
    natural = dict(enumerate(max(cell_len(name), cell) for name, cell in zip(table.head, cells, strict=True)))
    if _total(natural) <= width:
        yield natural
        return
    words = [max(map(cell_len, name.split()), default=0) for name in table.head]
    folded = dict(enumerate(map(max, cells, words)))  # names of columns are folded first
    values = {i: folded.pop(i) for i in range(table.keys, len(table.head))}
    room = width - GAP - max(values.values(), default=0)
    while _total(folded) > room and max(folded.values()) > NARROWEST:
        folded[max(folded, key=folded.__getitem__)] -= 1
    part = dict(folded)
    for i, value in values.items():
        if len(part) > len(folded) and _total(part | {i: value}) > width:
            yield part
            part = dict(folded)
        part[i] = value
    yield part


def _total(widths: Widths) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)


def _drawn(table: Table, widths: Widths) -> RichTable:
    # A width of its own: rich would cut the cells of a table that is too wide even so.
    drawn = RichTable(box=None, pad_edge=False, width=_total(widths))
    for i, width in widths.items():
        drawn.add_column(escape(table.head[i]), width=width, overflow="fold")
    for cells in table.body:
        drawn.add_row(*(Text(cells[i]) for i in widths))
    return drawn
