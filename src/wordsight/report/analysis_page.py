"""The report of an analysis: its page, its figure and its record, as a folder."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from wordsight.report import put
from wordsight.report.analysis import analysis_tables, sentences
from wordsight.report.analysis_figure import draw
from wordsight.report.ink import LIGHT
from wordsight.report.page import figure, page


def write_analysis(record: dict[str, Any], folder: Path) -> None:
    """Write ANALYSIS_FILES of `wordsight.report` into the folder, or none."""
    text = page(
        "analysis.html",
        "wordsight analyse",
        analysis_tables(record),
        record["environment"],
        record=record,
        sentences=sentences(record),
        figures=[figure(partial(draw, record))],
    )
    contents: dict[str, bytes | str] = {
        "analysis.html": text,
        "analysis.json": json.dumps(record, indent=1) + "\n",
        "analysis.png": draw(record, LIGHT),
    }
    put(folder, contents)
