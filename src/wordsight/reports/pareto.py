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

MARKERS = "osD^vPX*<>h"
FEW = 16  # lines that a small panel can show
DASHES = ("-", "--", ":")
Cost = Callable[[Sequence[Row]], list[float | None]]
Style = dict[str, Any]  # keyword arguments of Axes.plot


@dataclass(frozen=True)
class Point:
    """A pruner at one keep: its cost, and what share of the unpruned accuracy is kept, mean over tasks."""

    cost: float
    quality: float


def draw(rows: Sequence[Row], palette: Palette) -> bytes:
    """A PNG: a line for every pruner, a row of panels for every model."""
    costs = [("visual tokens read", _tokens)]
    if any(row["timing"] for row in rows):
        costs.append(("milliseconds a question, one at a time", _milliseconds))
    models = list(dict.fromkeys(row["model"] for row in rows))
    styles = _styles(rows, palette)
    size = 1.0 if len(styles) <= FEW else 1.7  # many lines need room
    columns = math.ceil(len(styles) / (FEW * size * len(models)))  # of the legend
    figure = new_figure((2.4 * columns + 4.4 * size * len(costs), 0.6 + 3.4 * size * len(models)), palette)
    axes = figure.subplots(len(models), len(costs), squeeze=False)
    for model, panels in zip(models, axes, strict=True):
        own = [row for row in rows if row["model"] == model and row["tasks"] == 1]
        for axis, (label, cost) in zip(panels, costs, strict=True):
            _draw_lines(axis, points(own, cost), styles)
            axis.set(xlabel=label, ylabel="accuracy kept, mean over tasks", title=model)
            axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            style_axis(axis, palette)
        panels[0].set_xscale("log", base=2)
        panels[0].xaxis.set_major_formatter("{x:g}")
    lines, names = axes[0][0].get_legend_handles_labels()
    figure.legend(
        lines,
        names,
        loc="outside right upper",
        frameon=False,
        labelcolor=palette.text,
        ncols=columns,
        fontsize="medium" if columns == 1 else "small",
    )
    figure.supxlabel("filled: no other point costs less and keeps as much", size="small", color=palette.text)
    return to_png(figure)


def points(rows: Sequence[Row], cost: Cost) -> dict[str, list[Point]]:
    """The points of every pruner on one model, those of lower cost first; what has no cost is left out."""
    by_task: dict[tuple[str, float | None, int | None], list[Point]] = {}
    for row, spent in zip(rows, cost(rows), strict=True):
        if spent is not None and row["retention"] is not None:
            point = Point(spent, row["retention"])
            by_task.setdefault((row["pruner"], row["keep"], row["tokens"]), []).append(point)
    lines: dict[str, list[Point]] = {}
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


def _styles(rows: Sequence[Row], palette: Palette) -> dict[str, Style]:
    """Color, marker and dashes of every pruner: no two share all three, and few share two."""
    names = [name for name in dict.fromkeys(row["pruner"] for row in rows) if name != UNPRUNED]
    styles: dict[str, Style] = {UNPRUNED: {"color": palette.text, "marker": "*", "markersize": 11}}
    for i, name in enumerate(names):
        color, marker = LINES[i % len(LINES)], MARKERS[i % len(MARKERS)]
        styles[name] = {"color": color, "marker": marker, "linestyle": DASHES[i // len(LINES) % len(DASHES)]}
    return styles


def _draw_lines(axis: Axes, lines: dict[str, list[Point]], styles: dict[str, Style]) -> None:
    best = front([point for line in lines.values() for point in line])
    for name, line in lines.items():
        x, y = [point.cost for point in line], [point.quality for point in line]
        axis.plot(x, y, label=name, markerfacecolor="none", **styles[name])
        filled = {"linestyle": "none", "markerfacecolor": styles[name]["color"]}
        at = [i for i, point in enumerate(line) if point in best]
        axis.plot([x[i] for i in at], [y[i] for i in at], **{**styles[name], **filled})
