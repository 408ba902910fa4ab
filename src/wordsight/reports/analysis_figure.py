"""The figure of an analysis: the measures by tenths of the tokens, for every order."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from wordsight.analysis.intermediate_states import Analysis
from wordsight.evaluation.statistics import Estimate
from wordsight.reports.analysis import rho
from wordsight.reports.figures import new_figure, style_axis, to_png
from wordsight.reports.palette import LINES, Palette


def draw(record: Analysis, palette: Palette) -> bytes:
    """A PNG with a row for every measure and a column for every order."""
    orders, measures = record["orders"], record["measures"]
    figure = new_figure((1.2 + 3 * len(orders), 0.8 + 2.4 * len(measures)), palette)
    axes = figure.subplots(len(measures), len(orders), sharex=True, sharey="row", squeeze=False)
    for row, measure in enumerate(measures):
        for column, order in enumerate(orders):
            axis, tenths = axes[row][column], record["tenths"][order["name"]][measure["name"]]
            _draw_tenths(axis, tenths, LINES[row % len(LINES)])
            correlation = rho(record["spearman"][order["name"]][measure["name"]])
            axis.set_title(f"rho {correlation}", fontsize="medium")
            style_axis(axis, palette)
        axes[row][0].set_ylabel(f"mean {measure['label']}")
        axes[row][0].set_ylim(0, None)
    for column, order in enumerate(orders):
        name = order["label"].replace(", ", ",\n")
        axes[0][column].set_title(f"{name}\n{axes[0][column].get_title()}", fontsize="medium")
        axes[-1][column].set_xticks(range(1, 11))
    label = "tenth of each picture's tokens, lowest first\nbands: 95 % over pictures"
    figure.supxlabel(label, color=palette.text, fontsize="medium")
    return to_png(figure)


def _draw_tenths(axis: Axes, tenths: list[Estimate], color: str) -> None:
    """The means, and a band where they have an interval."""
    places = np.arange(1, len(tenths) + 1)
    rows = [(tenth["mean"], tenth["low"], tenth["high"]) for tenth in tenths]
    mean, low, high = np.array(rows, dtype=float).T
    axis.fill_between(places, low, high, color=color, alpha=0.25, linewidth=0)
    axis.plot(places, mean, color=color, marker="o", markersize=3.5)
