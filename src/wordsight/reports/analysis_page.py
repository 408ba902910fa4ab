"""The report of an analysis: its page, its figure and its record, as a folder."""

from __future__ import annotations

from pathlib import Path

from wordsight._utils.records import json_text
from wordsight.analysis.intermediate_states import Analysis
from wordsight.reports.analysis import analysis_tables, sentences
from wordsight.reports.analysis_figure import draw
from wordsight.reports.folder import write_files
from wordsight.reports.page import figure, render
from wordsight.reports.palette import DARK, LIGHT


def write_analysis(record: Analysis, folder: Path) -> None:
    """Write ANALYSIS_FILES of reports/folder.py into the folder, or none."""
    light, dark = draw(record, LIGHT), draw(record, DARK)
    text = render(
        "analysis.html",
        title="wordsight analyze",
        tables=analysis_tables(record),
        environment=record["environment"],
        record=record,
        sentences=sentences(record),
        figures=[figure(light, dark)],
    )
    contents: dict[str, bytes | str] = {
        "analysis.html": text,
        "analysis.json": json_text(record) + "\n",
        "analysis.png": light,
    }
    write_files(folder, contents)
