"""wordsight info: what wordsight makes of a model."""

from __future__ import annotations

from typing import Annotated

import typer

from wordsight.cli.common import AsJson, load_vlm, print_json, print_text, takes_load_options
from wordsight.errors import UsageError, shown
from wordsight.models.load_options import LoadOptions

DIGITS = 4  # of a side of a picture


@takes_load_options
def info(
    model: Annotated[str, typer.Argument(help="a Hugging Face folder or hub name, or demo")] = "demo",
    size: Annotated[str, typer.Option(help="of a picture, width x height in pixels")] = "640x480",
    load: LoadOptions | None = None,
    as_json: AsJson = False,
) -> None:
    """Show what wordsight makes of a model: its tokens, its prompt, and what works on it, as tried."""
    from wordsight.analysis.model_info import describe_model

    width, _, height = size.partition("x")
    sides = [int(side) if side.isdecimal() and len(side) <= DIGITS else 0 for side in (width, height)]
    if not all(sides):
        raise UsageError(
            f"--size must be WIDTHxHEIGHT in pixels, of at most {DIGITS} digits each, such as 640x480; got "
            f"{shown(size)}"
        )
    record = describe_model(load_vlm(model, load), (sides[0], sides[1]))
    lines = [
        f"{name.replace('_', ' '):19}{_in_words(value)}"
        for name, value in record.items()
        if name not in ("format", "tried", "pruners")
    ]
    tried = record["tried"] | record["pruners"]
    lines += [f"{name:19}{obstacle or 'works'}" for name, obstacle in tried.items()]
    if as_json:
        print_json(record)
    else:
        print_text("\n".join(lines) + "\n")


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
