"""The figure of an analysis: what is said by tenths of the tokens, for every order that there is."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from wordsight.reports.analysis import rho
from wordsight.reports.figures import new_figure, style_axis, to_png
from wordsight.reports.palette import LINES, Palette


def draw(record: dict[str, Any], palette: Palette) -> bytes:
    """A PNG with a row for everything that is said and a column for every order."""
    orders, said = record["orders"], record["said"]
    figure = new_figure((1.2 + 3 * len(orders), 0.8 + 2.4 * len(said)), palette)
    axes = figure.subplots(len(said), len(orders), sharex=True, sharey="row", squeeze=False)
    for row, what in enumerate(said):
        for column, order in enumerate(orders):
            axis, found = axes[row][column], record["tenths"][order["name"]][what["name"]]
            _draw_tenths(axis, found, LINES[row % len(LINES)])
            told = rho(record["spearman"][order["name"]][what["name"]])
            axis.set_title(f"rho {told}", fontsize="medium")
            style_axis(axis, palette)
        axes[row][0].set_ylabel(f"mean {what['label']}")
        axes[row][0].set_ylim(0, None)
    for column, order in enumerate(orders):
        name = order["label"].replace(", ", ",\n")
        axes[0][column].set_title(f"{name}\n{axes[0][column].get_title()}", fontsize="medium")
        axes[-1][column].set_xticks(range(1, 11))
    told = "tenth of each picture's tokens, lowest first\nbands: 95 % over pictures"
    figure.supxlabel(told, color=palette.text, fontsize="medium")
    return to_png(figure)


def _draw_tenths(axis: Axes, tenths: list[dict[str, Any]], color: str) -> None:
    """The means, and a band where they have an interval."""
    places = np.arange(1, len(tenths) + 1)
    mean, low, high = (
        np.array([tenth[edge] for tenth in tenths], dtype=float) for edge in ("mean", "low", "high")
    )
    axis.fill_between(places, low, high, color=color, alpha=0.25, linewidth=0)
    axis.plot(places, mean, color=color, marker="o", markersize=3.5)
