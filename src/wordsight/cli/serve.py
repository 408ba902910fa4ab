"""wordsight serve: vLLM's server, which prunes the pictures of every request."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Annotated

import typer
from typing_extensions import TypedDict

from wordsight.cli.common import MODEL, SPEC, AsJson, print_json, print_text, say_unwrapped

FORMAT = 1


class ServeRecord(TypedDict):
    """The command that `wordsight serve` starts."""

    format: int
    command: list[str]


def serve(
    model: Annotated[str, typer.Argument(help=MODEL)],
    pruner: Annotated[
        list[str],
        typer.Option(
            "--pruner",
            "--choice",
            help=f"{SPEC}; repeatable: the first is used where a request names none",
        ),
    ],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="options of vLLM's server, after --, as -- --port 8001")
    ] = None,
    per_request: Annotated[
        bool,
        typer.Option(
            "--per-request", help="let requests choose pruner and budget; lets in all mm_processor_kwargs"
        ),
    ] = False,
    adaptive: Annotated[
        bool,
        typer.Option(
            "--adaptive",
            help="encode pictures before vLLM does, for pruners whose count depends on the picture, or that "
            "read the vision tower",
        ),
    ] = False,
    revision: Annotated[str | None, typer.Option(help="a branch, tag or commit on the hub")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="check, print the command, start nothing")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Serve a model by vLLM's OpenAI-compatible server (extra: vllm), its pictures pruned."""
    from wordsight.integrations.vllm.command import ServeOptions, serve_command

    options = ServeOptions(revision=revision, per_request=per_request, adaptive=adaptive)
    command = serve_command(model, pruner, options, arguments=arguments or ())
    if as_json:
        print_json(ServeRecord(format=FORMAT, command=command))
    elif dry_run:
        print_text(shlex.join(command) + "\n")
    if dry_run:
        return
    if not as_json:
        say_unwrapped(shlex.join(command))
    sys.stdout.flush()
    os.execv(command[0], command)
