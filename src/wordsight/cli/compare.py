"""wordsight compare: pruners on tasks and models, in one run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from wordsight.cli.common import (
    SHARE,
    SPEC,
    TOKENS,
    AsJson,
    QuestionPictures,
    Questions,
    Show,
    budgets,
    load_vlm,
    make_pruner,
    print_result,
    say_replaced,
    takes_load_options,
)
from wordsight.errors import UsageError
from wordsight.models.load_options import LoadOptions


@takes_load_options
def compare(
    task: Annotated[
        list[str], typer.Option(help="a task, such as easy_vqa or scenes:pictures=50, or questions.jsonl")
    ],
    pruner: Annotated[list[str], typer.Option(help=SPEC)],
    keep: Annotated[list[str] | None, typer.Option(help=SHARE)] = None,
    tokens: Annotated[list[int] | None, typer.Option(help=TOKENS, min=1)] = None,
    limit: Questions = None,
    pictures: QuestionPictures = None,
    reference: Annotated[
        str | None, typer.Option(help="compare with this pruner at the same keep; random by default")
    ] = None,
    timing: Annotated[
        int | None, typer.Option(help="measure times too, in so many rounds: 7 or more are good", min=6)
    ] = None,
    batch: Annotated[int, typer.Option(help="with --timing, the larger batch beside batch 1", min=2)] = 8,
    out: Annotated[
        Path | None, typer.Option(help="write rows and environment into this .json or .parquet file")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="write a figure, a page and tables into this folder")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="a Hugging Face folder or hub name; demo by default")
    ] = None,
    show: Show = None,
    load: LoadOptions | None = None,
    as_json: AsJson = False,
) -> None:
    """Compare pruners on tasks and models in one run, with 95 % intervals, blind scores and token counts.

    With --out, what is finished is kept in OUT.cells until all of it is: a run that was killed goes on there.
    OUT has every answer, which `wordsight answers OUT` lists.
    """
    from wordsight import pruners, tasks
    from wordsight._utils.registry import refuse_duplicates, spec
    from wordsight.evaluation.comparison import Settings
    from wordsight.evaluation.comparison import compare as run
    from wordsight.evaluation.latency import Timing
    from wordsight.evaluation.result_cache import cache_beside
    from wordsight.evaluation.results import check_results
    from wordsight.reports.answers import answers_record, answers_table
    from wordsight.reports.folder import check_report, write_report
    from wordsight.reports.formats import terminal
    from wordsight.reports.tables import tables

    if not (asked_for := budgets(keep, tokens)):
        raise UsageError("expected --keep, --tokens or both; got neither")
    methods = [method for name in pruner for budget in asked_for if (method := make_pruner(name, **budget))]
    chosen = [tasks.make(name) for name in task]
    asked = spec(pruners.make(reference)) if reference else None
    models = model or ["demo"]
    refuse_duplicates("model", models)
    asked_from = [file for each in chosen for file in each.files]
    if out:
        check_results(out, apart=asked_from)
        say_replaced(out)
    if report:
        check_report(report, apart=[*asked_from, *filter(None, [out])])
        say_replaced(report)
    with cache_beside(out) as cache:
        clock = Timing(rounds=timing, batch=batch) if timing else None
        settings = Settings(reference=asked, timing=clock, cache=cache, pictures=pictures)
        vlms = (load_vlm(each, load) for each in models)
        results = run(vlms, chosen, methods, limit=limit, settings=settings)
        results.environment["command"] = f"wordsight {' '.join(sys.argv[1:])}"
        if report:
            write_report(results, report)
        if out:
            results.save(out)
    listed = [answers_table(answers_record(results, show))] if show else []
    print_result(
        results.as_json(),
        lambda record: map(terminal, [*tables(record["rows"]), *listed]),
        as_json=as_json,
    )
