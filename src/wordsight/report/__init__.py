"""Report: what a comparison found, as a folder of a figure, a page, and tables for Markdown and LaTeX."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from wordsight.atomic import check_folder, replacing
from wordsight.errors import UsageError
from wordsight.report.formats import latex, markdown
from wordsight.report.tables import tables
from wordsight.results import Results

FILES = ("pareto.png", "comparison.html", "comparison.md", "comparison.tex")


def check_report(folder: Path) -> None:
    """Raises UsageError if a report could not be written there, before the work that it reports on."""
    if missing := [name for name in ("matplotlib", "jinja2") if find_spec(name) is None]:
        raise UsageError(f"a report needs {missing[0]}: pip install 'wordsight[report]'")
    if other := sorted({path.name for path in folder.glob("*")} - set(FILES)):
        raise UsageError(f"{folder} holds {other[0]}, which is not of a report; choose another folder")
    check_folder(folder)


def write_report(results: Results, folder: Path) -> None:
    """Write all FILES into the folder, or none."""
    # Only here: reports are an extra, and tables are not.
    from wordsight.report.page import page
    from wordsight.report.pareto import DARK, LIGHT, draw

    found = tables(results.rows)
    figure = draw(results.rows, LIGHT)
    texts = {
        "comparison.html": page(results, found, figure, draw(results.rows, DARK)),
        "comparison.md": "\n".join(map(markdown, found)),
        "comparison.tex": "\n".join(map(latex, found)),
    }
    check_report(folder)
    with replacing(folder) as draft:
        draft.mkdir()
        (draft / "pareto.png").write_bytes(figure)
        for name, text in texts.items():
            (draft / name).write_text(text, encoding="utf-8")
