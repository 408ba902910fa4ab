"""wordsight analyze: do intermediate states tell which visual tokens say something?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wordsight.cli.common import (
    SOURCE,
    AsJson,
    Column,
    EvidenceFolder,
    Model,
    Pictures,
    check_question,
    evidence_folder,
    load_vlm,
    places,
    print_result,
    say,
    say_replaced,
    say_skipped,
    takes_load_options,
)
from wordsight.models.load_options import LoadOptions


@takes_load_options
def analyze(
    images: Annotated[str, typer.Option(help=SOURCE)],
    out: Annotated[Path, typer.Option(help="the folder for a page, a figure and the record")],
    evidence: EvidenceFolder = None,
    column: Column = None,
    limit: Pictures = None,
    question: Annotated[
        str | None,
        typer.Option(help="the question that is answered; the paper's probe question by default"),
    ] = None,
    sure: Annotated[
        float,
        typer.Option(
            help="a token says something if its confidence is at least this; the paper: 0.08 to 0.15"
        ),
    ] = 0.5,
    model: Model = "demo",
    load: LoadOptions | None = None,
    as_json: AsJson = False,
) -> None:
    """Compare what tokens say with their [CLS] similarity and attention and with text-to-image attention.

    Evidence is collected as by `codebook build`: a stopped run goes on where it was.
    """
    from wordsight.analysis.intermediate_states import analyze as run
    from wordsight.media.sources import open_source
    from wordsight.redundancy.probe import QUESTION
    from wordsight.reports.analysis import for_terminal
    from wordsight.reports.folder import ANALYSIS_FILES, check_report

    asked = QUESTION if question is None else question
    check_question(asked)
    pictures = open_source(images, column).first(limit)
    collected_in = evidence_folder(evidence, out, images)
    check_report(out, ANALYSIS_FILES, apart=[*places(images), collected_in])
    say_replaced(out)
    # Only now: what draws is an extra, and the check says so if it is missing.
    from wordsight.reports.analysis_page import write_analysis

    record = run(load_vlm(model, load), pictures, collected_in, question=asked, sure=sure)
    say_skipped(record["skipped"])
    write_analysis(record, out)
    say(f"wrote {out / ANALYSIS_FILES[0]}")
    print_result(record, for_terminal, as_json=as_json)
