"""The command line: each command parses, calls the library, and shows the result."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from wordsight.cli import analyze as analyze
from wordsight.cli import codebook, explain, recommend, view
from wordsight.cli.common import (
    SHARE,
    SPEC,
    TOKENS,
    AsJson,
    Model,
    answer_record,
    budgets,
    load_vlm,
    make_pruner,
    open_media,
    quiet,
    save_picture,
    say,
    show,
    show_tables,
)
from wordsight.errors import UsageError, WordsightError

INTERRUPTED = 130  # what typer returns after Ctrl-C
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.add_typer(codebook.app, name="codebook")
app.command()(recommend.recommend)
app.command()(explain.explain)
app.command()(analyze.analyze)
app.command()(view.view)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"wordsight {version('wordsight')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="show the version and end")
    ] = False,
) -> None:
    """Ask every visual token of a multimodal language model what it says; drop those that say nothing."""


@app.command()
def ask(
    given: Annotated[list[str], typer.Argument(metavar="PICTURE|VIDEO... QUESTION")],
    then: Annotated[list[str] | None, typer.Option(help="ask this next; the same tokens are read")] = None,
    frames: Annotated[int | None, typer.Option(help="of a video, evenly spread; 8 by default", min=1)] = None,
    fps: Annotated[float | None, typer.Option(help="or so many frames a second")] = None,
    model: Model = "demo",
    pruner: Annotated[str, typer.Option(help=SPEC)] = "none",
    keep: Annotated[str | None, typer.Option(help=SHARE)] = None,
    tokens: Annotated[int | None, typer.Option(help=TOKENS, min=1)] = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question about pictures or videos, with all of their visual tokens or fewer."""
    from wordsight._utils.registry import spec

    if len(given) < 2:
        raise UsageError(f"expected pictures or videos and then a question about them; got only {given[0]!r}")
    *paths, question = given
    asked_for = budgets([keep] if keep else None, [tokens] if tokens else None)
    if len(asked_for) > 1:
        raise UsageError("expected --keep or --tokens, one of the two")
    method = make_pruner(pruner, **dict(*asked_for))
    if method is None and asked_for:
        raise UsageError("--keep and --tokens need a pruner, got none; add one, as --pruner divprune")
    opened = open_media([Path(path) for path in paths], frames, fps)
    chat = load_vlm(model).chat(opened, pruner=method)
    answers = [chat.ask(asked) for asked in (question, *(then or ()))]
    made_by = {"pruner": spec(method) if method else "none", "model": model}
    records = [answer_record(answer) | made_by for answer in answers]
    record = records[0] | ({"then": records[1:]} if then else {})
    show(record, as_json, "".join(f"{answer.text}\n" for answer in answers))
    if not as_json:
        say(f"{answers[0].tokens_kept} of {answers[0].tokens_total} visual tokens read")


@app.command()
def info(
    model: Annotated[str, typer.Argument(help="a Hugging Face folder or hub name, or demo")] = "demo",
    size: Annotated[str, typer.Option(help="of a picture, width x height in pixels")] = "640x480",
    as_json: AsJson = False,
) -> None:
    """Show what wordsight makes of a model: its tokens, its prompt, and the pruners that can run on it."""
    from wordsight.analysis.model_info import describe_model

    width, _, height = size.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise UsageError(f"--size must be WIDTHxHEIGHT in pixels, as 640x480; got {size!r}")
    record = describe_model(load_vlm(model), (int(width), int(height)))
    lines = [
        f"{name.replace('_', ' '):19}{_told(value)}"
        for name, value in record.items()
        if name not in ("format", "pruners")
    ]
    lines += [f"{name:19}{obstacle or 'can run'}" for name, obstacle in record["pruners"].items()]
    show(record, as_json, "\n".join(lines) + "\n")


def _told(value: object) -> str:
    """A value of `info` in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(
            f"{item['rows']}x{item['columns']}{' enlarged' * item['crop']}"
            if isinstance(item, dict)
            else str(item)
            for item in value
        )
    return str(value)


@app.command()
def probe(
    image: Path,
    leave_one_out: Annotated[bool, typer.Option(help="also what each token's absence changes")] = False,
    out: Annotated[Path | None, typer.Option(help="draw the words on the picture, into this PNG")] = None,
    question: Annotated[
        str | None, typer.Option(help="ask this instead of the paper's probe question")
    ] = None,
    model: Model = "demo",
    as_json: AsJson = False,
) -> None:
    """Show what every visual token says when the model sees it alone."""
    from wordsight.explain.token_table import token_rows
    from wordsight.media.images import load_picture
    from wordsight.redundancy.probe import QUESTION
    from wordsight.reports import drawing

    picture, vlm = load_picture(image), load_vlm(model)
    prompt = vlm.encode(picture, question or QUESTION)
    rows = token_rows(vlm, prompt, with_context=leave_one_out)
    shown = drawing.finest(prompt.visual)
    said = [(rows[i]["words"][0][0], rows[i]["confidence"]) for i in shown.tolist()]
    grid = prompt.visual.take(shown)
    if out:
        large = drawing.enlarged(picture, drawing.boxes(picture, grid))
        save_picture(drawing.draw_words(large, drawing.boxes(large, grid), said), out)
    if as_json:
        show({"image": str(image), "model": model, "tokens": rows}, True, "")
        return
    show_tables(drawing.terminal_grid(grid, said))
    for row in rows if leave_one_out else []:
        words = ", ".join(f"{word} {chance:.2f}" for word, chance in row["words"][:3])
        print(f"{row['cell']}  {words}  regional {row['regional']:.2e}  global {row['global']:.2e}")


@app.command()
def compare(
    task: Annotated[
        list[str], typer.Option(help="a task, as easy_vqa or scenes:pictures=50, or questions.jsonl")
    ],
    pruner: Annotated[list[str], typer.Option(help=SPEC)],
    keep: Annotated[list[str] | None, typer.Option(help=SHARE)] = None,
    tokens: Annotated[list[int] | None, typer.Option(help=TOKENS, min=1)] = None,
    limit: Annotated[
        int | None, typer.Option(help="ask only the first so many questions of a task", min=1)
    ] = None,
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
    as_json: AsJson = False,
) -> None:
    """Compare pruners on tasks and models in one run, with 95 % intervals, blind scores and token counts.

    With --out, what is finished is kept in OUT.cells until all of it is: a run that was killed goes on there.
    """
    from wordsight import pruners, tasks
    from wordsight._utils.registry import refuse_duplicates, spec
    from wordsight.evaluation.comparison import Settings
    from wordsight.evaluation.comparison import compare as run
    from wordsight.evaluation.latency import Timing
    from wordsight.evaluation.result_cache import cache_beside
    from wordsight.evaluation.results import check_results
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
    if out:
        check_results(out)
    if report:
        check_report(report)
    with cache_beside(out) as cells:
        clock = Timing(rounds=timing, batch=batch) if timing else None
        settings = Settings(reference=asked, timing=clock, cells=cells)
        results = run(map(load_vlm, models), chosen, methods, limit=limit, settings=settings)
        results.environment["command"] = f"wordsight {' '.join(sys.argv[1:])}"
        if report:
            write_report(results, report)
        if out:
            results.save(out)
    if as_json:
        show({"rows": results.rows, "environment": results.environment}, True, "")
    else:
        show_tables(*map(terminal, tables(results.rows)))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="where to write the pictures and results")] = Path("demo-output"),
    as_json: AsJson = False,
) -> None:
    """Show the main job on the embedded model: ask, probe, prune, compare."""
    from wordsight.cli.tour import tour

    quiet()
    shown = tour(out, say=say)
    if as_json:
        show(shown.record, True, "")
    else:
        show_tables(*shown.renderables)


def main() -> None:
    """Run the command line: 0 is done, 1 a failure, 2 a misuse, each told in one sentence on stderr."""
    try:
        code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
    except typer.TyperException as error:
        say(f"error: {_one_line(error)}; see `wordsight --help`, or --help after a command for its options")
        sys.exit(2)
    except WordsightError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    if code == INTERRUPTED:
        say(
            "error: stopped; nothing half-written is left, and evidence and cells of a comparison that are "
            "finished are found again by the same command"
        )
        sys.exit(1)


def _one_line(error: Exception) -> str:
    format_message = getattr(error, "format_message", lambda: str(error))
    return " ".join(format_message().split()).rstrip(".")
