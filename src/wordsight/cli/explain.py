"""wordsight explain: a page that shows what every visual token says and does, and which ones pruners keep."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wordsight._utils.numbers import counted
from wordsight.cli.common import (
    SHARE,
    SPEC,
    AsJson,
    Fps,
    Frames,
    Model,
    as_share,
    check_question,
    load_vlm,
    make_pruner,
    note_unused_budget,
    open_media,
    print_json,
    print_text,
    say_replaced,
    takes_load_options,
)
from wordsight.models.load_options import LoadOptions

if TYPE_CHECKING:
    from wordsight.explain.record import ExplainRequest
    from wordsight.pruners.base import Pruner

Pruners = Annotated[
    list[str] | None, typer.Option("--pruner", help=f"{SPEC}; by default a few that can run on the model")
]
Keeps = Annotated[list[str] | None, typer.Option("--keep", help=f"{SHARE}; 0.1, 0.2 and 0.5 by default")]
Book = Annotated[
    str | None,
    typer.Option(help="a folder; by default that of demo or demo-photos itself, none for others"),
]


@takes_load_options
def explain(
    given: Annotated[list[Path], typer.Argument(metavar="PICTURE|VIDEO...", help="- is standard input")],
    out: Annotated[Path, typer.Option(help="write the page into this HTML file")],
    question: Annotated[
        str | None,
        typer.Option(help="what to answer; the paper's probe question by default"),
    ] = None,
    truth: Annotated[
        list[str] | None,
        typer.Option(help="an answer that is right: the page then says of every answer if it is"),
    ] = None,
    pruner: Pruners = None,
    keep: Keeps = None,
    codebook: Book = None,
    frames: Frames = None,
    fps: Fps = None,
    model: Model = "demo",
    load: LoadOptions | None = None,
    as_json: AsJson = False,
) -> None:
    """Write a page that shows what every visual token says, and which ones pruners keep."""
    from wordsight._utils.files import check_file
    from wordsight.explain.page import SUFFIXES, write_page
    from wordsight.explain.panels import numbered
    from wordsight.explain.record import explain_tokens
    from wordsight.redundancy.probe import QUESTION

    asked = QUESTION if question is None else question
    check_question(asked)
    check_file(out, SUFFIXES, apart=given)
    say_replaced(out)
    media = open_media(given, frames, fps)
    make_request = request_factory(pruner, keep, codebook, model)
    request = make_request(names=numbered([path.name for path in given]), question=asked, truth=truth or ())
    record = explain_tokens(load_vlm(model, load), media, request)
    write_page(record, media, out)
    if as_json:
        print_json(record)
    else:
        for method, findings in zip(record["methods"], record["findings"], strict=True):
            print_text(f"{method['name']}: {findings[len(findings) // 2]}\n")  # as the page opens
        print_text(f"{counted(len(record['tokens']['cell']), 'visual token')} in {out}\n")


def request_factory(
    pruner: list[str] | None, keep: list[str] | None, codebook: str | None, model: str
) -> partial[ExplainRequest]:
    """What makes a request of names and a question, with all else as these options say."""
    from wordsight.explain.record import KEEPS, ExplainRequest
    from wordsight.redundancy.codebook import own_book

    book = codebook or own_book(model)
    return partial(
        ExplainRequest,
        pruners=None if pruner is None else _pruners(pruner, book),
        keeps=sorted(as_share(text) for text in set(keep)) if keep else KEEPS,
        book=book,
    )


def _pruners(specs: list[str], book: str | None) -> list[Pruner]:
    """The pruners of the SPECs; those that take a codebook and name none get this one."""
    from wordsight.pruners.book import BookPruner
    from wordsight.pruners.choice import spec_of

    pruners = []
    for spec in specs:
        note_unused_budget(spec_of(spec), "every pruner is shown at each --keep")
        pruner = make_pruner(spec)
        if isinstance(pruner, BookPruner) and book and "codebook=" not in spec and not pruner.choice:
            pruner = replace(pruner, codebook=book)
        pruners += [pruner] if pruner else []
    return pruners
