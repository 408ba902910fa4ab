"""The page: one HTML file that asks nothing of anybody, with the story of a prompt and its pictures in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wordsight._utils.files import replacing
from wordsight.explain.panels import pictures
from wordsight.media.inputs import MediaInput

WEB = Path(__file__).with_name("web")
SCRIPTS = ("dom.js", "kept.js", "colors.js", "details.js", "panels.js", "tables.js", "page.js")


def write_page(story: dict[str, Any], shown: MediaInput, path: Path) -> None:
    """Write the page of the story of these pictures or videos, whole or not at all."""
    text = render_page(story, pictures(shown, story["panels"]))
    with replacing(path) as draft:
        draft.write_text(text, "utf-8")


def render_page(story: dict[str, Any], pictures: Sequence[str]) -> str:
    """The page of a story (`tell`), with a data URL for the picture of each of its panels."""
    panels = [{**panel, "picture": picture} for panel, picture in zip(story["panels"], pictures, strict=True)]
    parts = {
        "/* style */": _read("style.css"),
        "/* script */": "\n".join(map(_read, SCRIPTS)),
        "/* record */": _embedded({**story, "panels": panels}),
    }
    text = _read("page.html")
    for place, part in parts.items():
        text = text.replace(place, part, 1)
    return text


def _embedded(story: dict[str, Any]) -> str:
    """The JSON of a story as it can stand in a script element: none of its words can end that."""
    return json.dumps(story, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _read(name: str) -> str:
    return (WEB / name).read_text("utf-8")
