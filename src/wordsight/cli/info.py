"""wordsight info: what wordsight makes of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wordsight.cli.common import (
    AsJson,
    load_vlm,
    print_json,
    print_text,
    say_skipped,
    takes_load_options,
)
from wordsight.errors import UsageError, shown
from wordsight.models.load_options import LoadOptions

DIGITS = 4  # of a side of a picture
PICTURES = 20  # what is found on fewer is not to be believed


@takes_load_options
def info(
    model: Annotated[str, typer.Argument(help="a Hugging Face folder or hub name, or demo")] = "demo",
    size: Annotated[str, typer.Option(help="of a picture, width x height in pixels")] = "640x480",
    images: Annotated[
        Path | None,
        typer.Option(
            help="a folder of pictures like yours: ask tokens of them how many say nothing, and so "
            "whether a codebook is likely to beat random tokens"
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--pictures", "--limit", help="so many of them, evenly spread", min=1)
    ] = PICTURES,
    load: LoadOptions | None = None,
    as_json: AsJson = False,
) -> None:
    """Show what wordsight makes of a model: its tokens, its prompt, and what works on it, as tried."""
    from wordsight.analysis.model_info import describe_model
    from wordsight.reports.silence import silence_sentence

    width, _, height = size.partition("x")
    sides = [int(side) if side.isdecimal() and len(side) <= DIGITS else 0 for side in (width, height)]
    if not all(sides):
        raise UsageError(
            f"--size must be WIDTHxHEIGHT in pixels, of at most {DIGITS} digits each, such as 640x480; got "
            f"{shown(size)}"
        )
    pictures = _spread(images, limit) if images else []
    record = describe_model(load_vlm(model, load), (sides[0], sides[1]), pictures)
    lines = [
        f"{name.replace('_', ' '):19}{_in_words(value)}"
        for name, value in record.items()
        if name not in ("format", "tried", "silence", "pruners")
    ]
    silence = record["silence"]
    unknown = "not measured; --images FOLDER does, on pictures of yours"
    lines.append(f"{'silence':19}{silence_sentence(silence) if silence else unknown}")
    tried = record["tried"] | record["pruners"]
    lines += [f"{name:19}{obstacle or 'works'}" for name, obstacle in tried.items()]
    if as_json:
        print_json(record)
    else:
        print_text("\n".join(lines) + "\n")


def _spread(folder: Path, count: int) -> list[Path]:
    """So many pictures of a folder, evenly spread over their names; those that cannot be read are named."""
    from wordsight.media.images import find_pictures, readable

    found = find_pictures(folder)
    count = min(count, len(found))
    pictures, skipped = readable([found[i * len(found) // count] for i in range(count)])
    say_skipped(skipped)
    return pictures


def _in_words(value: object) -> str:
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
