"""The page: one HTML file that asks nothing of anybody, with figures, tables and the environment."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from wordsight.reports.ink import DARK, LIGHT, Ink
from wordsight.reports.tables import Table

TEMPLATES = Environment(
    autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(Path(__file__).parent)
)


def page(
    template: str, title: str, tables: Sequence[Table], environment: Mapping[str, Any], **own: Any
) -> str:
    """The page that a template beside this file makes of these tables and of what is its own."""
    return TEMPLATES.get_template(template).render(title=title, tables=tables, environment=environment, **own)


def figure(draw: Callable[[Ink], bytes]) -> dict[str, str]:
    """A figure for light and for dark screens, as the addresses of two PNGs that hold themselves."""
    return {"light": inline(draw(LIGHT), "png"), "dark": inline(draw(DARK), "png")}


def inline(picture: bytes, kind: str) -> str:
    """The address of a picture that holds it."""
    return f"data:image/{kind};base64,{b64encode(picture).decode()}"
