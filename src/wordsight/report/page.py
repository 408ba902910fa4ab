"""The page: one HTML file that asks nothing of anybody, with the figure, the tables and the environment."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from wordsight.report.tables import Table
from wordsight.results import Results

TEMPLATE = Path(__file__).with_name("page.html")


def page(results: Results, found: Sequence[Table], light: bytes, dark: bytes) -> str:
    """The page of these tables and of the figure (PNG) for light and for dark screens."""
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        TEMPLATE.read_text("utf-8")
    )
    figures = {name: b64encode(png).decode() for name, png in (("light", light), ("dark", dark))}
    return template.render(tables=found, environment=results.environment, figures=figures)
