"""Ink: the colors and the paper of every figure, for light and for dark screens."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's colors, which tell apart whatever colors one sees, but for black and yellow.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")


@dataclass(frozen=True)
class Ink:
    """The colors of what is not a line."""

    paper: str
    text: str
    grid: str


LIGHT = Ink("#ffffff", "#1a1a1a", "#dddddd")
DARK = Ink("#16181c", "#e8e8e8", "#3a3d42")


def new_figure(size: tuple[float, float], ink: Ink) -> Figure:
    """An empty figure of this width and height, in inches."""
    figure = Figure(size, layout="constrained")
    figure.set_facecolor(ink.paper)
    return figure


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def style_axis(axis: Axes, ink: Ink) -> None:
    """Paint what is not a line of a panel."""
    axis.set_facecolor(ink.paper)
    axis.grid(color=ink.grid, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(colors=ink.text, which="both")
    for text in (axis.xaxis.label, axis.yaxis.label, axis.title):
        text.set_color(ink.text)
    for edge in axis.spines.values():
        edge.set_color(ink.grid)
