"""wordsight ask: a question about pictures or videos, with all of their visual tokens or fewer."""

from __future__ import annotations

from typing import Annotated

import typer

from wordsight._utils.numbers import counted
from wordsight.cli.common import (
    SHARE,
    SPEC,
    TOKENS,
    AsJson,
    Fps,
    Frames,
    Model,
    budgets,
    check_question,
    load_vlm,
    make_pruner,
    open_media,
    print_json,
    print_text,
    say,
    takes_load_options,
)
from wordsight.errors import UsageError
from wordsight.models.load_options import LoadOptions


@takes_load_options
def ask(
    given: Annotated[
        list[str], typer.Argument(metavar="PICTURE|VIDEO... QUESTION", help="- is standard input")
    ],
    then: Annotated[list[str] | None, typer.Option(help="ask this next; the same tokens are read")] = None,
    frames: Frames = None,
    fps: Fps = None,
    model: Model = "demo",
    pruner: Annotated[str, typer.Option(help=SPEC)] = "none",
    keep: Annotated[str | None, typer.Option(help=SHARE)] = None,
    tokens: Annotated[int | None, typer.Option(help=TOKENS, min=1)] = None,
    load: LoadOptions | None = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question about pictures or videos, with all of their visual tokens or fewer."""
    from wordsight._utils.registry import spec
    from wordsight.reports.asking import ask_record

    if len(given) < 2:
        raise UsageError(f"expected pictures or videos and then a question about them; got only {given[0]!r}")
    *paths, question = given
    for asked in (question, *(then or ())):
        check_question(asked)
    asked_for = budgets([keep] if keep else None, [tokens] if tokens else None)
    if len(asked_for) > 1:
        raise UsageError("expected --keep or --tokens, one of the two")
    method = make_pruner(pruner, **dict(*asked_for))
    if method is None and asked_for:
        raise UsageError("--keep and --tokens need a pruner, got none; add one, such as --pruner divprune")
    opened = open_media(paths, frames, fps)
    vlm = load_vlm(model, load)
    chat = vlm.chat(opened, pruner=method)
    questions = (question, *(then or ()))
    answers = [chat.ask(asked) for asked in questions]
    if as_json:
        pairs = list(zip(questions, answers, strict=True))
        print_json(ask_record(vlm, spec(method) if method else "none", pairs))
        return
    print_text("".join(f"{answer}\n" for answer in answers))
    if any(answer.cut for answer in answers):
        say("note: an answer was cut; --generation max_new_tokens=NUMBER lets it go on")
    say(f"{answers[0].tokens_kept} of {counted(answers[0].tokens_total, 'visual token')} read")
