"""The command line: each command parses, calls the library, and shows the result."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import cache
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer

from wordsight._utils.files import NO_ROOM
from wordsight._utils.notes import listen_to_notes
from wordsight.cli import (
    analyze,
    answers,
    ask,
    codebook,
    compare,
    demo,
    evidence,
    explain,
    info,
    lists,
    probe,
    recommend,
    serve,
    view,
)
from wordsight.cli.common import print_json, print_text, progress_bars, say, writing
from wordsight.cli.examples import add_examples
from wordsight.cli.signals import Stopped, signals_raised
from wordsight.errors import LONGEST, ModelError, UsageError, WordsightError

INTERRUPTED = 130  # what typer returns after Ctrl-C
STOPPED = (
    "stopped; nothing half-written is left, and finished evidence and results are found again by the same "
    "command"
)
app = typer.Typer(pretty_exceptions_enable=False)
for command in (
    ask.ask,
    probe.probe,
    explain.explain,
    view.view,
    compare.compare,
    answers.answers,
    recommend.recommend,
    analyze.analyze,
    info.info,
    serve.serve,
    lists.pruners,
    lists.tasks,
    demo.demo,
):
    app.command()(command)
codebook.app.command()(lists.criteria)
app.add_typer(codebook.app, name="codebook")
app.add_typer(evidence.app, name="evidence")
add_examples(app)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print_text(f"wordsight {version('wordsight')}\n")
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

    With --json a failure is a record on stdout too. Where nobody reads stdout any more, it is 1 without one.
    """
    _prepare_stdout()
    try:
        code = _run()
    except typer.TyperException as error:
        hint = "see `wordsight --help`, or --help after a command for its options"
        if "No such option" in str(error):
            hint += "; a file whose name begins with a dash is given as ./-name"
        _fail(UsageError(f"{_one_line(error)}; {hint}"))
    except WordsightError as error:
        _fail(error)
    except Stopped as stop:
        _fail(WordsightError(STOPPED), stop.exit_code)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        _fail(_known(error))
    if code == INTERRUPTED:
        _fail(WordsightError(STOPPED), INTERRUPTED)


def _run() -> Any:
    """Run the command of the command line; what typer prints without us, as help, is told like a result."""
    try:
        with signals_raised(), progress_bars(), listen_to_notes(cache(say)):
            code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
            with writing():
                return code
    except OSError as error:
        if error.filename or error.errno not in NO_ROOM:
            raise
        with writing():
            raise


def _prepare_stdout() -> None:
    """End if there is no stdout. Letters that its encoding lacks are escaped, as on stderr."""
    if sys.stdout is None:
        _fail(WordsightError("stdout is closed, where the result would go; send it to a file, or /dev/null"))
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _fail(error: WordsightError, code: int | None = None) -> NoReturn:
    """End with the error: a sentence on stderr, and a record on stdout where --json asks for one."""
    if "--json" in sys.argv and sys.stdout is not None:
        with suppress(OSError, WordsightError):  # of stdout itself: it is said on stderr all the same
            print_json({"error": {"message": str(error), "kind": error.kind}})
    say(f"error: {error}")
    sys.exit(code or error.exit_code)


def _known(error: Exception) -> WordsightError:
    """A sentence for what somebody can do something about. Raises the error itself if it is none."""
    from wordsight.models.failures import known_reason

    if reason := known_reason(error):
        return ModelError(reason)
    if isinstance(error, OSError) and error.filename:
        return WordsightError(f"cannot read or write {error.filename}: {error.strerror}")
    raise error


def _one_line(error: Exception) -> str:
    format_message = getattr(error, "format_message", lambda: str(error))
    text = format_message().replace("Value error, ", "")  # pydantic's
    words = (word if len(word) <= LONGEST else f"{word[:LONGEST]}..." for word in text.split())
    return " ".join(words).rstrip(".")
