"""wordsight ask: a question about pictures or videos, with all of their visual tokens or fewer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    say,
    show,
)
from wordsight.errors import UsageError


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
        raise UsageError("--keep and --tokens need a pruner, got none; add one, such as --pruner divprune")
    opened = open_media([Path(path) for path in paths], frames, fps)
    chat = load_vlm(model).chat(opened, pruner=method)
    first, *more = [answer_record(asked, chat.ask(asked)) for asked in (question, *(then or ()))]
    made_by = {"format": 1, "model": model, "pruner": spec(method) if method else "none"}
    show({**made_by, **first, "then": more}, as_json, "".join(f"{one['answer']}\n" for one in (first, *more)))
    if not as_json:
        say(f"{first['tokens_kept']} of {first['tokens_total']} visual tokens read")
