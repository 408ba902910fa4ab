"""wordsight ask: a question about pictures or videos, with all of their visual tokens or fewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from wordsight.models.conversation import Conversation


@takes_load_options
def ask(
    given: Annotated[
        list[str] | None, typer.Argument(metavar="PICTURE|VIDEO... QUESTION", help="- is standard input")
    ] = None,
    messages: Annotated[
        Path | None,
        typer.Option(
            help="a JSON file of Hugging Face messages, in place of pictures and a question; its paths count "
            "from its folder"
        ),
    ] = None,
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

    if bool(messages) == bool(given):
        raise UsageError("expected pictures or videos and then a question about them, or --messages FILE")
    if given and len(given) < 2:
        raise UsageError(f"expected pictures or videos and then a question about them; got only {given[0]!r}")
    for asked in (*(given or ())[-1:], *(then or ())):
        check_question(asked)
    asked_for = budgets([keep] if keep else None, [tokens] if tokens else None)
    if len(asked_for) > 1:
        raise UsageError("expected --keep or --tokens, one of the two")
    method = make_pruner(pruner, **dict(*asked_for))
    if method is None and asked_for:
        raise UsageError("--keep and --tokens need a pruner, got none; add one, such as --pruner divprune")
    begun = _read_messages(messages, frames, fps) if messages else _asked(given or [], frames, fps)
    vlm = load_vlm(model, load)
    chat = vlm.chat(messages=begun, pruner=method)
    questions = (begun.question, *(then or ()))
    answers = [chat.ask(asked) for asked in questions]
    if as_json:
        pairs = list(zip(questions, answers, strict=True))
        print_json(ask_record(vlm, spec(method) if method else "none", begun, pairs))
        return
    print_text("".join(f"{answer}\n" for answer in answers))
    if any(answer.cut for answer in answers):
        say("note: an answer was cut; --generation max_new_tokens=NUMBER lets it go on")
    say(f"{answers[0].tokens_kept} of {counted(answers[0].tokens_total, 'visual token')} read")


def _asked(given: Sequence[str], frames: int | None, fps: float | None) -> Conversation:
    """A question, the last of these, about the media before it."""
    from wordsight.models.conversation import Conversation

    *paths, question = given
    return replace(Conversation.about(open_media(paths, frames, fps), question), names=tuple(paths))


def _read_messages(path: Path, frames: int | None, fps: float | None) -> Conversation:
    """The messages in a JSON file, whose paths count from its folder."""
    from wordsight._utils.records import read_json
    from wordsight.media.video import Sampling
    from wordsight.models.conversation import Conversation

    sampling = Sampling(frames=frames, fps=fps)
    return Conversation.of(read_json(path, "messages"), sampling, folder=path.parent)
