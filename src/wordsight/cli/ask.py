"""wordsight ask: a question about pictures or videos, with all of their visual tokens or fewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from typing_extensions import TypedDict

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
    from wordsight.models.chat import Answer

FORMAT = 1


class AnswerRecord(TypedDict):
    """An answer: what was asked of which model, how many visual tokens were read, and what it took."""

    question: str
    answer: str
    tokens_total: int
    tokens_kept: Annotated[float, "mean over layers, where some of them read more than others"]
    vision_ms: float
    selection_ms: float
    prefill_ms: float
    decode_ms: float


class AskRecord(AnswerRecord):
    """What `wordsight ask` answers; the first answer's fields are its own."""

    format: int
    model: str
    pruner: Annotated[str, "its SPEC, or none"]
    then: Annotated[list[AnswerRecord], "the answers to --then, in order"]


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
    chat = load_vlm(model, load).chat(opened, pruner=method)
    first, *more = [_answer_record(asked, chat.ask(asked)) for asked in (question, *(then or ()))]
    if as_json:
        record: AskRecord = {
            "format": FORMAT,
            "model": model,
            "pruner": spec(method) if method else "none",
            **first,
            "then": more,
        }
        print_json(record)
        return
    print_text("".join(f"{answer['answer']}\n" for answer in (first, *more)))
    say(f"{first['tokens_kept']} of {counted(first['tokens_total'], 'visual token')} read")


def _answer_record(question: str, answer: Answer) -> AnswerRecord:
    """The record of an answer."""
    return {
        "question": question,
        "answer": answer.text,
        "tokens_total": answer.tokens_total,
        "tokens_kept": answer.tokens_kept,
        "vision_ms": answer.vision_ms,
        "selection_ms": answer.selection_ms,
        "prefill_ms": answer.prefill_ms,
        "decode_ms": answer.decode_ms,
    }
