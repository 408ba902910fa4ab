"""wordsight evidence: put evidence together that was collected in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wordsight.cli.common import AsJson, print_result

app = typer.Typer(help="Put evidence together that was collected in parts.")


@app.callback()
def _evidence() -> None:
    """Put evidence together that was collected in parts."""


@app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(help="the folders with evidence of one run")],
    out: Annotated[Path, typer.Option(help="the folder for all of it; it may hold some already")],
    as_json: AsJson = False,
) -> None:
    """Join what the parts of one run wrote into folders of their own, as `codebook build --part` does."""
    from wordsight._utils.files import check_file
    from wordsight.redundancy.merging import merge_evidence
    from wordsight.reports.evidence import merge_sentence

    check_file(out / "manifest.json")
    record = merge_evidence(folders, out)
    print_result(record, lambda record: [merge_sentence(record, out)], as_json=as_json)
