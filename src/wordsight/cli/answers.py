"""wordsight answers: what was said in a comparison that has been run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wordsight.cli.common import AsJson, Show, print_result


def answers(
    results: Annotated[Path, typer.Argument(help="a .json file that `wordsight compare --out` wrote")],
    show: Show = "wrong",
    task: Annotated[list[str] | None, typer.Option(help="only of this task, as the results have it")] = None,
    pruner: Annotated[
        list[str] | None,
        typer.Option(help="only with this pruner, as the results have it; or none, resized, blind"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what was said in a comparison, question by question, without running anything."""
    from wordsight.evaluation.results import Results
    from wordsight.reports.answers import answers_record, answers_table
    from wordsight.reports.formats import terminal

    record = answers_record(Results.load(results), show or "wrong", tasks=task or (), pruners=pruner or ())
    print_result(record, lambda shown: [terminal(answers_table(shown))], as_json=as_json)
