"""wordsight probe: what every visual token says alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wordsight.cli.common import (
    AsJson,
    Model,
    check_question,
    load_vlm,
    open_picture,
    print_json,
    print_tables,
    print_text,
    say,
    say_replaced,
    takes_load_options,
)
from wordsight.models.load_options import LoadOptions


@takes_load_options
def probe(
    image: Annotated[Path, typer.Argument(help="- is standard input")],
    ablation: Annotated[bool, typer.Option(help="also how much the words change without each token")] = False,
    out: Annotated[Path | None, typer.Option(help="draw the words on the picture, into this PNG")] = None,
    question: Annotated[
        str | None, typer.Option(help="ask this instead of the paper's probe question")
    ] = None,
    model: Model = "demo",
    load: LoadOptions | None = None,
    as_json: AsJson = False,
) -> None:
    """Show what every visual token says when the model sees it alone; a dot says nothing: as without any."""
    from wordsight._utils.files import check_file, replacing
    from wordsight.explain.token_table import FORMAT, ProbeRecord, token_rows, token_rows_with_divergences
    from wordsight.redundancy.probe import QUESTION
    from wordsight.reports import drawing

    asked = QUESTION if question is None else question
    check_question(asked)
    if out:
        check_file(out, (".png",), apart=[image])
        say_replaced(out)
    picture, vlm = open_picture(image), load_vlm(model, load)
    prompt = vlm.encode(picture, asked)
    rows = token_rows_with_divergences(vlm, prompt) if ablation else token_rows(vlm, prompt)
    finest = drawing.finest(prompt.visual)
    shown = [rows[i] for i in finest.tolist()]
    labels = drawing.labels([row["words"] for row in shown], [row["says_nothing"] for row in shown])
    grid = prompt.visual.take(finest)
    if out:
        large = drawing.enlarged(picture, drawing.boxes(picture, grid))
        with replacing(out) as draft:
            drawing.draw_words(large, drawing.boxes(large, grid), labels).save(draft, format="PNG")
        say(f"wrote {out}")
    if as_json:
        record = ProbeRecord(format=FORMAT, image=str(image), model=model, question=asked, tokens=rows)
        print_json(record)
        return
    print_tables(drawing.terminal_grid(grid, labels))
    for row in rows if ablation else []:
        said = ", ".join(f"{word} {chance:.2f}" for word, chance in row["words"][:3])
        words = "nothing" if row["says_nothing"] else said
        print_text(f"{row['cell']}  {words}  regional {row['regional']:.2e}  global {row['global']:.2e}\n")
