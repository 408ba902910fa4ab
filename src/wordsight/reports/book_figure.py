"""The figure of a book: its map, how its prototypes repeat each other, what they say, which of them prune."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from wordsight.analysis.prototypes import Inspection
from wordsight.reports.drawing import NOTHING
from wordsight.reports.figures import new_figure, style_axis, to_png
from wordsight.reports.palette import LINES, Palette

MARKERS = "o^s"  # with six colors, as many looks as there are clusters, and more
BINS = 30


def draw(record: Inspection, palette: Palette) -> bytes:
    """A PNG of four panels."""
    figure = new_figure((10, 7.6), palette)
    axes = figure.subplots(2, 2)
    _draw_map(axes[0][0], record)
    twins = [each["nearest"][1] for each in record["prototypes"] if each["nearest"]]
    repeats = record["repetition"]
    _draw_shares(axes[0][1], twins, repeats and repeats["median"], palette)
    axes[0][1].set(title="How they repeat each other", xlabel="cosine with the nearest other; line: median")
    says = record["says"]
    _draw_shares(axes[1][0], [each["confidence"] for each in record["prototypes"]], says["sure"], palette)
    axes[1][0].set(title="How surely they say a word", xlabel="confidence, read alone; line: says it surely")
    axes[1][0].set_xlim(0, 1)
    _draw_pruning(axes[1][1], record)
    for axis in axes.flat:
        style_axis(axis, palette)
    handles, names = axes[0][0].get_legend_handles_labels()
    legend = figure.legend(handles, names, loc="outside right upper", frameon=False, title="cluster")
    for text in (legend.get_title(), *legend.get_texts()):
        text.set_color(palette.text)
    return to_png(figure)


def _draw_map(axis: Axes, record: Inspection) -> None:
    for number, name in enumerate(_names(record)):
        own = [each for each in record["prototypes"] if each["cluster"] == number]
        places = np.array([each["map"] for each in own])
        sizes = [12 + 60 * each["prunes"] / max(1, record["dropped"]) ** 0.5 for each in own]
        look: dict[str, Any] = {
            "color": LINES[number % len(LINES)],
            "marker": MARKERS[number // len(LINES) % len(MARKERS)],
        }
        axis.scatter(places[:, 0], places[:, 1], sizes, alpha=0.7, linewidths=0, label=name, **look)
    first, second = record["map_explains"]
    axis.set(
        title="Map; the larger, the more it prunes",
        xlabel=f"first principal axis, {first:.0%} of the variance",
        ylabel=f"second, {second:.0%}",
    )


def _names(record: Inspection) -> list[str]:
    """A cluster's number and its commonest word, a dot if it says none."""
    words = [each["words"][0][0] if each["words"] else NOTHING for each in record["clusters"]]
    return [f"{i} {word[:14]}".replace("$", r"\$") for i, word in enumerate(words)]


def _draw_shares(axis: Axes, values: list[float], mark: float | None, palette: Palette) -> None:
    """What share of the prototypes has which value."""
    weights = np.full(len(values), 1 / max(1, len(values)))
    axis.hist(values, bins=BINS, weights=weights, color=LINES[0])
    axis.set_ylabel("share of the prototypes")
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    if mark is not None:
        axis.axvline(mark, color=palette.text, linestyle="--", linewidth=1)


def _draw_pruning(axis: Axes, record: Inspection) -> None:
    prunes = np.sort([each["prunes"] for each in record["prototypes"]])[::-1]
    axis.plot(
        np.arange(len(prunes) + 1),
        np.concatenate([[0], prunes.cumsum() / max(1, record["dropped"])]),
        color=LINES[1],
    )
    axis.set(
        title="Which of them prune",
        xlabel="prototypes, those that prune most first",
        ylabel=f"of the dropped tokens at keep {record['keep']:.0%}",
        ylim=(0, 1.02),
    )
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
