"""Pages: every HTML page of wordsight is a template of jinja2 in one palette, and asks nothing of anybody."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from wordsight._utils.records import json_text
from wordsight.reports.palette import css

TEMPLATES = Path(__file__).parent


def render(template: str, *, folder: Path = TEMPLATES, **context: object) -> str:
    """The page that a template of the folder, or one beside this file, makes of the context."""
    return _environment(folder).get_template(template).render(context)


@cache
def _environment(folder: Path) -> Environment:
    """`palette` is a page's colors; `source(NAME)` the text of a file of ours, for a style or script element;
    `record | embedded` a record as JSON, for a script element.
    """
    loader = FileSystemLoader([folder, TEMPLATES])
    templates = Environment(autoescape=True, undefined=StrictUndefined, loader=loader)
    templates.globals |= {
        "palette": Markup(css()),
        "source": lambda name: Markup(loader.get_source(templates, name)[0]),
    }
    templates.filters["embedded"] = _embedded
    return templates


def _embedded(record: Mapping[str, object]) -> Markup:
    """The JSON of a record as it can stand in a script element: none of its words can end that."""
    return Markup(json_text(record, indent=None).replace("<", "\\u003c"))


def figure(light: bytes, dark: bytes) -> dict[str, str]:
    """A figure for light and for dark screens, as the addresses of two PNGs that hold themselves."""
    return {"light": inline(light, "png"), "dark": inline(dark, "png")}


def inline(picture: bytes, kind: str) -> str:
    """The address of a picture that holds it."""
    return f"data:image/{kind};base64,{b64encode(picture).decode()}"
