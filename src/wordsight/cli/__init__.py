"""The command line: each command parses, calls the library, and shows the result."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from wordsight.cli import analyze, ask, codebook, compare, demo, explain, info, probe, recommend, view
from wordsight.cli.common import closed_streams, flush_stdout, print_json, progress_bars, say
from wordsight.cli.signals import Stopped, signals_raised
from wordsight.errors import UsageError, WordsightError

INTERRUPTED = 130  # what typer returns after Ctrl-C
STOPPED = (
    "stopped; nothing half-written is left, and finished evidence and results are found again by the same "
    "command"
)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
for command in (
    ask.ask,
    probe.probe,
    explain.explain,
    view.view,
    compare.compare,
    recommend.recommend,
    analyze.analyze,
    info.info,
    demo.demo,
):
    app.command()(command)
app.add_typer(codebook.app, name="codebook")


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


def main() -> None:
    """Run the command line: 0 is done, 1 a failure, 2 a misuse, each a sentence on stderr; 130 is Ctrl-C, and
    143 that another program asked it to end.

    With --json a failure is a record on stdout too.
    """
    if "stdout" in closed_streams():
        _fail(
            WordsightError("stdout is closed, so that no result can be shown; to see none, use > /dev/null")
        )
    try:
        with signals_raised(), progress_bars():
            code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
            flush_stdout()
    except typer.TyperException as error:
        hint = "see `wordsight --help`, or --help after a command for its options"
        _fail(UsageError(f"{_one_line(error)}; {hint}"))
    except WordsightError as error:
        _fail(error)
    except Stopped as stop:
        _fail(WordsightError(STOPPED), stop.exit_code)
    except BrokenPipeError:
        sys.exit(1)  # as `head` does when it has enough: nobody is left to be told
    except OSError as error:
        where = error.filename or "the result"
        _fail(WordsightError(f"cannot read or write {where}: {error.strerror or error}"))
    if code == INTERRUPTED:
        _fail(WordsightError(STOPPED), INTERRUPTED)


def _fail(error: WordsightError, code: int | None = None) -> NoReturn:
    """End with the error: a sentence on stderr, and a record on stdout where --json asks for one."""
    with suppress(OSError):  # the sentence is on stderr
        if "--json" in sys.argv:
            print_json({"error": {"message": str(error), "kind": error.kind}})
        flush_stdout()
    say(f"error: {error}")
    sys.exit(code or error.exit_code)


def _one_line(error: Exception) -> str:
    format_message = getattr(error, "format_message", lambda: str(error))
    return " ".join(format_message().split()).rstrip(".")
