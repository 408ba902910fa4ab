"""Report: the results of a comparison as a folder of a figure, a page, and tables for Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from wordsight._utils.files import check_folder, replacing
from wordsight.errors import UsageError
from wordsight.evaluation.results import Results
from wordsight.reports.formats import latex, markdown
from wordsight.reports.tables import tables

ANALYSIS_FILES = ("analysis.html", "analysis.json", "analysis.png")
COMPARISON_FILES = ("pareto.png", "comparison.html", "comparison.md", "comparison.tex")
BOOK_FILES = ("book.html", "book.json", "book.png")


def check_report(
    folder: Path, files: Sequence[str] = COMPARISON_FILES, apart: Iterable[str | Path] = ()
) -> None:
    """Raises UsageError without matplotlib and FileError if a report of these files could not be written
    there, `apart` from what else is used, before the work that it reports on.
    """
    if find_spec("matplotlib") is None:
        raise UsageError("a report needs matplotlib: pip install 'wordsight[report]'")
    check_folder(folder, files, apart)


def write_files(folder: Path, contents: Mapping[str, bytes | str]) -> None:
    """Write all of these files into the folder, or none, in place of an earlier report of the same files."""
    check_report(folder, tuple(contents))
    with replacing(folder) as draft:
        draft.mkdir()
        for name, content in contents.items():
            (draft / name).write_bytes(content.encode() if isinstance(content, str) else content)


def write_report(results: Results, folder: Path) -> None:
    """Write all COMPARISON_FILES into the folder, or none."""
    # Only here: reports are an extra, and tables are not.
    from wordsight.reports.page import figure, render
    from wordsight.reports.palette import DARK, LIGHT
    from wordsight.reports.pareto import draw

    all_tables = tables(results.rows)
    light, dark = draw(results.rows, LIGHT), draw(results.rows, DARK)
    contents: dict[str, bytes | str] = {
        "pareto.png": light,
        "comparison.html": render(
            "comparison.html",
            title="wordsight compare",
            tables=all_tables,
            environment=results.environment,
            figures=[figure(light, dark)],
        ),
        "comparison.md": "\n".join(map(markdown, all_tables)),
        "comparison.tex": "\n".join(map(latex, all_tables)),
    }
    write_files(folder, contents)
