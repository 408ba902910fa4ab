"""The page of `explain`: one HTML file that asks nothing of anybody, with a record and its pictures in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wordsight._utils.files import check_suffix, replacing
from wordsight.explain.panels import pictures
from wordsight.explain.record import ExplainRecord
from wordsight.media.inputs import MediaInput
from wordsight.reports.page import render

SUFFIXES = (".html", ".htm")
WEB = Path(__file__).with_name("web")
SCRIPTS = (
    "dom.js",
    "regions.js",
    "kept.js",
    "colors.js",
    "story.js",
    "grid.js",
    "zoom.js",
    "stage.js",
    "tables.js",
    "state.js",
    "help.js",
    "tour.js",
    "save.js",
    "page.js",
)


def write_page(record: ExplainRecord, media: MediaInput, path: Path) -> None:
    """Write the page of the record of these pictures or videos into an .html file, whole or not at all."""
    check_suffix(path, SUFFIXES)
    text = render_page(record, pictures(media, record["panels"]))
    with replacing(path) as draft:
        draft.write_text(text, "utf-8")


def render_page(record: ExplainRecord, pictures: Sequence[str]) -> str:
    """The page of a record (`explain_tokens`), with a data URL for the picture of each of its panels."""
    panels = [
        {**panel, "picture": picture} for panel, picture in zip(record["panels"], pictures, strict=True)
    ]
    return render("page.html", folder=WEB, scripts=SCRIPTS, record={**record, "panels": panels})
