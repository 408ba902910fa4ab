"""Pages: one renderer and one palette for all of them."""

import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError

import wordsight
from wordsight.errors import WordsightError
from wordsight.explain.page import WEB as EXPLAIN
from wordsight.reports.page import TEMPLATES, render
from wordsight.reports.palette import DARK, LIGHT, LINES, css
from wordsight.viewer.server import WEB as VIEWER

ROOT = Path(wordsight.__file__).parent
PAGES = sorted(path for folder in (TEMPLATES, EXPLAIN, VIEWER) for path in folder.iterdir())


def brightness(color):
    """The relative luminance of #rrggbb: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first, second):
    high, low = sorted((brightness(first), brightness(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_no_color_is_written_outside_of_the_palette():
    written = {
        path.name: found
        for path in PAGES
        if path.suffix in (".html", ".css", ".js")
        and (found := re.findall(r"#[0-9a-fA-F]{3,8}\b(?=[;,\" ])|\brgba?\(\d", path.read_text("utf-8")))
    }
    assert written == {}


def test_every_color_that_pages_use_is_in_the_palette():
    scripts = "".join(path.read_text("utf-8") for path in PAGES if path.suffix == ".js")
    measures = re.findall(r'setProperty\("--([\w-]+)"', scripts)  # that a script gives to the styles
    defined = {*re.findall(r"--([\w-]+):", css()), *measures}
    for path in PAGES:
        if path.suffix in (".html", ".css"):
            assert set(re.findall(r"var\(--([\w-]+)\)", path.read_text("utf-8"))) <= defined, path.name


def test_the_palette_is_the_same_in_pages_and_in_figures():
    light, _, dark = css().partition("@media (prefers-color-scheme: dark)")
    for palette, text in ((LIGHT, light), (DARK, dark)):
        for name, color in vars(palette).items():
            assert f"--{name}: {color};" in text
    assert [f"--line-{i}: {color};" in light for i, color in enumerate(LINES, 1)] == [True] * len(LINES)


def test_text_can_be_read_on_its_paper():
    for palette in (LIGHT, DARK):
        for color in (palette.text, palette.faint, palette.mark):
            assert contrast(color, palette.paper) >= 4.5
            assert contrast(color, palette.stripe) >= 4.5


def test_every_html_file_is_a_template_of_one_document(tmp_path):
    for path in PAGES:
        if path.suffix == ".html" and path.name not in ("document.html", "figure.html"):
            assert path.read_text("utf-8").startswith('{% extends "'), path.name
    assert [path.name for path in PAGES if "<!doctype" in path.read_text("utf-8")] == ["document.html"]


def test_a_template_gets_text_as_text_and_misses_nothing(tmp_path):
    (tmp_path / "own.html").write_text(
        '{% extends "document.html" %}{% block document %}{{ word }}{% endblock %}'
    )
    assert "&lt;b&gt;" in render("own.html", folder=tmp_path, word="<b>")
    with pytest.raises(UndefinedError):
        render("own.html", folder=tmp_path)


def test_a_record_cannot_end_its_script_element(tmp_path):
    (tmp_path / "own.html").write_text("<script>{{ record | embedded }}</script>")
    assert render("own.html", folder=tmp_path, record={"a": "</script>&'"}) == (
        """<script>{"a":"\\u003c/script>&'"}</script>"""
    )
    with pytest.raises(WordsightError, match="nan at a"):
        render("own.html", folder=tmp_path, record={"a": float("nan")})
