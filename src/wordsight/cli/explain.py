"""wordsight explain: a page that shows what every visual token says, does and is worth to pruners."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wordsight.cli.common import (
    SHARE,
    SPEC,
    AsJson,
    Model,
    as_share,
    load_vlm,
    make_pruner,
    open_media,
    say,
    show,
)

if TYPE_CHECKING:
    from wordsight.pruners.base import Pruner


def explain(
    given: Annotated[list[Path], typer.Argument(metavar="PICTURE|VIDEO...")],
    out: Annotated[Path, typer.Option(help="write the page into this HTML file")],
    question: Annotated[
        str | None,
        typer.Option(help="what answers and attention are to; the paper's probe question by default"),
    ] = None,
    pruner: Annotated[
        list[str] | None, typer.Option(help=f"{SPEC}; by default some that can run on the model")
    ] = None,
    keep: Annotated[list[str] | None, typer.Option(help=f"{SHARE}; 0.1, 0.2 and 0.5 by default")] = None,
    codebook: Annotated[
        str | None, typer.Option(help="a folder; by default the embedded model's, for no other model")
    ] = None,
    frames: Annotated[int | None, typer.Option(help="of a video, evenly spread; 8 by default", min=1)] = None,
    fps: Annotated[float | None, typer.Option(help="or so many frames a second")] = None,
    model: Model = "demo",
    as_json: AsJson = False,
) -> None:
    """Write a page that shows what every visual token says, and which ones pruners keep."""
    from wordsight.atomic import check_file
    from wordsight.explain.page import write
    from wordsight.explain.story import KEEPS, Asked, tell
    from wordsight.inputs import Shown
    from wordsight.probe import QUESTION

    check_file(out)
    shown = Shown.of(open_media(given, frames, fps))
    book = codebook or ("demo" if model == "demo" else None)
    asked = Asked(
        names=[f"{i}. {path.name}" if len(given) > 1 else path.name for i, path in enumerate(given, 1)],
        question=question or QUESTION,
        pruners=None if pruner is None else _pruners(pruner, book),
        keeps=sorted(as_share(text) for text in set(keep)) if keep else KEEPS,
        book=book,
    )
    story = tell(load_vlm(model), shown, asked, say)
    write(story, shown, out)
    show(story, as_json, f"{len(story['tokens']['cell'])} visual tokens in {out}\n")


def _pruners(specs: list[str], book: str | None) -> list[Pruner]:
    """The pruners of the SPECs; those that take a codebook and name none get this one."""
    from wordsight.pruners.base import BookPruner

    methods = []
    for spec in specs:
        method = make_pruner(spec, None)
        if isinstance(method, BookPruner) and book and "codebook=" not in spec:
            method = replace(method, codebook=book)
        methods += [method] if method else []
    return methods
