"""wordsight demo: the main job, on photos where their model is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wordsight.cli.common import AsJson, print_result, quiet, say


def demo(
    out: Annotated[Path, typer.Option(help="where to write the pictures and results")] = Path("demo-output"),
    as_json: AsJson = False,
) -> None:
    """Show the main job, on photos with the extra `photos`: ask, probe, prune, compare."""
    from wordsight.cli.tour import tour

    quiet()
    result = tour(out, notify=say)
    print_result(result.record, lambda _: result.renderables, as_json=as_json)
