"""wordsight compare: pruners on tasks and models, in one run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from wordsight._utils.files import is_stream
from wordsight.cli.common import (
    SHARE,
    SPEC,
    TOKENS,
    Actors,
    AsJson,
    GpusPerActor,
    QuestionPictures,
    Questions,
    Ray,
    Show,
    as_part,
    budgets,
    load_options,
    load_vlm,
    make_pruner,
    print_json,
    print_result,
    print_text,
    ray_workers,
    refuse_part_on_ray,
    say_replaced,
    takes_load_options,
)
from wordsight.errors import UsageError
from wordsight.models.load_options import LoadOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wordsight.evaluation.comparison import Comparison
    from wordsight.evaluation.result_cache import Place
    from wordsight.evaluation.results import Results
    from wordsight.integrations.ray import RayWorkers
    from wordsight.models.vlm import VLM


@takes_load_options
def compare(
    task: Annotated[
        list[str] | None,
        typer.Option(help="a task, such as easy_vqa or scenes:pictures=50, or questions.jsonl"),
    ] = None,
    pruner: Annotated[list[str] | None, typer.Option(help=SPEC)] = None,
    keep: Annotated[list[str] | None, typer.Option(help=SHARE)] = None,
    tokens: Annotated[list[int] | None, typer.Option(help=TOKENS, min=1)] = None,
    limit: Questions = None,
    pictures: QuestionPictures = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="the one of the pruners that others are compared with at the same keep; random by default, "
            "if it is among them"
        ),
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
    from_lmms: Annotated[
        Path | None,
        typer.Option(help="instead of measuring, read what lmms-eval did with --model wordsight: its folder"),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(help="measure one of several parts alone, as 0/4, the first of four, into OUT.cells"),
    ] = None,
    ray: Ray = None,
    actors: Actors = None,
    num_gpus_per_actor: GpusPerActor = None,
    show: Show = None,
    load: LoadOptions | None = None,
    as_json: AsJson = False,
) -> None:
    """Compare pruners on tasks and models in one run, with 95 % intervals, blind scores and token counts.

    With --out, what is finished is kept in OUT.cells until all of it is: a run that was killed goes on there,
    and processes that are given a --part each share it. The same command without --part collects what they
    measured. With --ray, actors share it. OUT has every answer, which `wordsight answers OUT` lists.
    With --from-lmms, runs of lmms-eval are compared.
    """
    from wordsight import pruners, tasks
    from wordsight._utils.registry import refuse_duplicates, spec
    from wordsight.evaluation.comparison import Comparison, Settings
    from wordsight.evaluation.latency import Timing
    from wordsight.evaluation.result_cache import cache_folder

    if from_lmms:
        measured_on = (model, part, ray, actors, num_gpus_per_actor, load != load_options())
        measuring = (task, pruner, keep, tokens, limit, pictures, timing, *measured_on)
        _print(_from_lmms(from_lmms, reference, out, report, measuring), show, as_json=as_json)
        return
    if not task or not pruner:
        raise UsageError("expected --task and --pruner, or --from-lmms alone")
    if not (asked_for := budgets(keep, tokens)):
        raise UsageError("expected --keep, --tokens or both; got neither")
    methods = [method for name in pruner for budget in asked_for if (method := make_pruner(name, **budget))]
    chosen = [tasks.make(name) for name in task]
    asked = spec(pruners.make(reference)) if reference else None
    models = model or ["demo"]
    refuse_duplicates("model", models)
    asked_from = [file for each in chosen for file in each.files]
    workers = ray_workers(ray, actors, num_gpus_per_actor, load)
    share = _part(part, out, report, workers)
    _check_files(out, report, asked_from)
    clock = Timing(rounds=timing, batch=batch) if timing else None

    def comparison(cache: Path | None) -> Comparison:
        settings = Settings(reference=asked, timing=clock, cache=cache, pictures=pictures)
        return Comparison(chosen, methods, limit, settings)

    if share and out:
        part_record = comparison(cache_folder(out)).measure_part(_loaded(models, load), share)
        print_json(part_record) if as_json else print_text(_missing(part_record["missing"]))
        return
    results = _collected(lambda cache: _measured(comparison(cache), models, load, workers), out, report)
    _print(results, show, as_json=as_json)


def _print(results: Results, show: Literal["wrong", "all"] | None, *, as_json: bool) -> None:
    from wordsight.reports.answers import answers_record, answers_table
    from wordsight.reports.formats import terminal
    from wordsight.reports.tables import tables

    listed = [answers_table(answers_record(results, show))] if show else []
    print_result(
        results.as_json(),
        lambda record: map(terminal, [*tables(record["rows"]), *listed]),
        as_json=as_json,
    )


def _from_lmms(
    folder: Path,
    reference: str | None,
    out: Path | None,
    report: Path | None,
    measuring: Sequence[object],
) -> Results:
    """The results of lmms-eval's runs, in their files too. Raises UsageError if anything asks to measure."""
    from wordsight.integrations.lmms_eval.results import lmms_results

    if any(measuring):
        raise UsageError(
            "--from-lmms reads what lmms-eval has measured; beside it there are --reference, --out, "
            "--report, --show and --json"
        )
    _check_files(out, report, [folder])
    for place in filter(None, (out, report)):
        say_replaced(place)
    return _written(lmms_results(folder, reference), out, report)


def _check_files(out: Path | None, report: Path | None, apart: Sequence[str | Path]) -> None:
    """Raises UsageError if they could not be written."""
    from wordsight.evaluation.results import check_results
    from wordsight.reports.folder import check_report

    if out:
        check_results(out, apart=apart)
    if report:
        check_report(report, apart=[*apart, *filter(None, [out])])


def _collected(measured: Callable[[Path | None], Results], out: Path | None, report: Path | None) -> Results:
    """The results, of what was measured before and what is measured now, in their files too."""
    from wordsight.evaluation.result_cache import cache_beside

    for place in filter(None, (out, report)):
        say_replaced(place)
    with cache_beside(out) as cache:
        return _written(measured(cache), out, report)


def _written(results: Results, out: Path | None, report: Path | None) -> Results:
    from wordsight.reports.folder import write_report

    results.environment["command"] = f"wordsight {' '.join(sys.argv[1:])}"
    if report:
        write_report(results, report)
    if out:
        results.save(out)
    return results


def _loaded(models: Sequence[str], load: LoadOptions | None) -> Iterator[VLM]:
    """The models, one at a time."""
    return (load_vlm(each, load) for each in models)


def _measured(
    comparison: Comparison, models: Sequence[str], load: LoadOptions | None, workers: RayWorkers | None
) -> Results:
    """The results, measured here or by the workers."""
    if not workers:
        return comparison.results(_loaded(models, load))
    from wordsight.integrations.ray import compare_on_ray

    return compare_on_ray(workers, comparison, models)


def _part(
    text: str | None, out: Path | None, report: Path | None, workers: RayWorkers | None
) -> tuple[int, int] | None:
    """What --part asks for. Raises UsageError if there is no place for it, or for what workers measure."""
    refuse_part_on_ray(text, workers)
    if workers and (not out or is_stream(out)):
        raise UsageError("--ray measures into OUT.cells: give --out, in a folder that all machines share")
    if text is None:
        return None
    part = as_part(text)
    if not out or report or is_stream(out):
        raise UsageError(
            "--part measures into OUT.cells and writes no results: give the --out of all parts, and --report "
            "to the last command, which has no --part"
        )
    return part


def _missing(places: list[Place]) -> str:
    """What other parts have to measure yet, a line each."""
    lines = [
        f"missing: {place['pruner']}, {place['tokens'] or place['keep'] or 'all'}, {place['task']}, "
        f"{place['model']}"
        for place in places
    ]
    last = "the other parts measure these" if places else "all is measured: leave out --part for the results"
    return "\n".join([*lines, last, ""])
