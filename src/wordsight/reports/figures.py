"""What every figure begins and ends with: its paper, its axes, its PNG."""

from __future__ import annotations

from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wordsight.reports.palette import Palette


def new_figure(size: tuple[float, float], palette: Palette) -> Figure:
    """An empty figure of this width and height, in inches."""
    figure = Figure(size, layout="constrained")
    figure.set_facecolor(palette.paper)
    return figure


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def style_axis(axis: Axes, palette: Palette) -> None:
    """Color what is not a line of a panel."""
    axis.set_facecolor(palette.paper)
    axis.grid(color=palette.grid, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(colors=palette.text, which="both")
    for text in (axis.xaxis.label, axis.yaxis.label, axis.title):
        text.set_color(palette.text)
    for edge in axis.spines.values():
        edge.set_color(palette.grid)
