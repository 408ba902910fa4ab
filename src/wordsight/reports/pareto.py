"""The Pareto figure: quality kept against tokens, and against time where it was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from wordsight.evaluation.metrics import UNPRUNED
from wordsight.evaluation.results import Row
from wordsight.reports.figures import new_figure, style_axis, to_png
from wordsight.reports.palette import LINES, Palette

MARKERS = "osD^vPX*"
DASHES = ("-", "--")
FEW = len(MARKERS)  # lines that a panel can show
COLUMNS = 2  # of panels, at most, where there is one cost
Cost = Callable[[Sequence[Row]], list[float | None]]
Lines = dict[str, list["Point"]]  # by pruner


@dataclass(frozen=True)
class Point:
    """A pruner at one keep: its cost, and what share of the unpruned accuracy is kept, mean over tasks."""

    cost: float
    quality: float


def draw(rows: Sequence[Row], palette: Palette) -> bytes:
    """A PNG: a line for every pruner, a row of panels for every model. Of more than a few pruners, those that
    keep most have a panel together, those that keep less the next ones, before all others in gray.
    """
    costs = [("visual tokens read", _tokens)]
    if any(row["timing"] for row in rows):
        costs.append(("milliseconds a question, one at a time", _milliseconds))
    models = list(dict.fromkeys(row["model"] for row in rows))
    together = ranked(rows)
    columns = len(costs) if len(costs) > 1 else min(COLUMNS, len(together))
    down = len(models) * math.ceil(len(together) * len(costs) / columns)
    figure = new_figure((7 * columns, 0.6 + 3.4 * down), palette)
    panels = figure.subplots(down, columns, squeeze=False)
    for model, block in zip(models, panels.reshape(len(models), -1), strict=True):
        empty = iter(block)
        own = [row for row in rows if row["model"] == model and row["tasks"] == 1]
        lines = {cost: points(own, cost) for _, cost in costs}
        for place, names in enumerate(together):
            first = FEW * place + 1
            which = f": pruners {first} to {first + len(names) - 1} by rank" if len(together) > 1 else ""
            for label, cost in costs:
                axis = next(empty)
                _draw_lines(axis, lines[cost], names, palette)
                axis.set(xlabel=label, ylabel="accuracy kept, mean over tasks", title=f"{model}{which}")
                axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
                style_axis(axis, palette)
                if cost is _tokens:
                    axis.set_xscale("log", base=2)
                    axis.xaxis.set_major_formatter("{x:g}")
        for axis in empty:
            axis.set_axis_off()
    figure.supxlabel("filled: no other point costs less and keeps as much", size="small", color=palette.text)
    return to_png(figure)


def ranked(rows: Sequence[Row]) -> list[list[str]]:
    """Pruners by the accuracy that they keep, mean over tasks, budgets and models, a few together."""
    kept: dict[str, list[float]] = {}
    for row in rows:
        if row["tasks"] == 1 and row["pruner"] != UNPRUNED and row["retention"] is not None:
            kept.setdefault(row["pruner"], []).append(row["retention"])
    names = sorted(kept, key=lambda name: -fmean(kept[name]))
    return [names[start : start + FEW] for start in range(0, len(names), FEW)] or [[]]


def points(rows: Sequence[Row], cost: Cost) -> Lines:
    """The points of every pruner on one model, those of lower cost first; what has no cost is left out."""
    by_task: dict[tuple[str, float | None, int | None], list[Point]] = {}
    for row, spent in zip(rows, cost(rows), strict=True):
        if spent is not None and row["retention"] is not None:
            point = Point(spent, row["retention"])
            by_task.setdefault((row["pruner"], row["keep"], row["tokens"]), []).append(point)
    lines: Lines = {}
    for (pruner, *_), each in by_task.items():
        mean = Point(fmean(point.cost for point in each), fmean(point.quality for point in each))
        lines[pruner] = sorted([*lines.get(pruner, []), mean], key=lambda point: point.cost)
    return lines


def front(candidates: Sequence[Point]) -> set[Point]:
    """The points that no other beats: none costs as little and keeps as much, and is better in one."""
    return {
        mine
        for mine in candidates
        if not any(
            other != mine and other.cost <= mine.cost and other.quality >= mine.quality
            for other in candidates
        )
    }


def _tokens(rows: Sequence[Row]) -> list[float | None]:
    return [row["tokens_kept"] for row in rows]


def _milliseconds(rows: Sequence[Row]) -> list[float | None]:
    """The ratio to the unpruned model in the same rounds, times how long that took in its own: the machine
    may have slowed down between one pruner and the next.
    """
    taken = [row["timing"]["batches"][0] if row["timing"] else None for row in rows]
    pairs = list(zip(rows, taken, strict=True))
    whole = {row["task"]: one["milliseconds"]["total"] for row, one in pairs if one and not one["ratio"]}
    return [
        whole[row["task"]] * (one["ratio"]["total"][0] if one["ratio"] else 1) if one else None
        for row, one in pairs
    ]


def _draw_lines(axis: Axes, lines: Lines, names: Sequence[str], palette: Palette) -> None:
    """Those of these names and the unpruned model, in colors, before the others."""
    best = front([point for line in lines.values() for point in line])
    shown = {name: lines[name] for name in (UNPRUNED, *names) if name in lines}
    for name, line in lines.items():
        if name not in shown:
            axis.plot(*_places(line), color=palette.grid, zorder=1)
    for i, (name, line) in enumerate(shown.items()):
        style: dict[str, Any] = {"color": palette.text, "marker": "*", "markersize": 11}
        if name != UNPRUNED:
            turn, color = divmod(i - 1, len(LINES))
            style = {"color": LINES[color], "marker": MARKERS[i - 1], "linestyle": DASHES[turn]}
        axis.plot(*_places(line), label=name, markerfacecolor="none", **style)
        filled = {"linestyle": "none", "markerfacecolor": style["color"]}
        axis.plot(*_places([point for point in line if point in best]), **{**style, **filled})
    if shown:  # nothing is, where the model answers no question rightly
        text = {"labelcolor": palette.text, "fontsize": "small"}
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, **text)


def _places(line: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.cost for point in line], [point.quality for point in line]
