"""The report of a book: its page, its figure and its record, as a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from wordsight.reports.book import sentences, words_of
from wordsight.reports.book_figure import draw
from wordsight.reports.folder import write_files
from wordsight.reports.page import figure, inline, render
from wordsight.reports.palette import LIGHT
from wordsight.reports.patches import SIDE, Patches, place_of

ROWS = 200  # prototypes with patches on the page; the record has all
SHOWN = 8  # patches of a cluster


def write_book_report(record: dict[str, Any], pictures: Sequence[Path], folder: Path) -> None:
    """Write BOOK_FILES into the folder, or none; `pictures` are those of the record."""
    most = sorted(record["prototypes"], key=lambda each: -each["prunes"])
    rows = most[:ROWS]
    clusters = [_cluster(each, most) for each in record["clusters"]]
    examples = [example for each in (*rows, *clusters) for example in each["examples"]]
    patches = Patches.of(examples, pictures)
    text = render(
        "book.html",
        title="wordsight codebook explain",
        tables=[],
        environment={**record["environment"], "book": record["book"]},
        record=record,
        sentences=sentences(record),
        figures=[figure(partial(draw, record))],
        clusters=[{**each, "patches": _patches(each, patches, record)} for each in clusters],
        rows=[{**each, "patches": _patches(each, patches, record)} for each in rows],
        sheet=inline(patches.sheet, "jpeg"),
        side=SIDE,
    )
    contents: dict[str, bytes | str] = {
        "book.html": text,
        "book.json": json.dumps(record, indent=1) + "\n",
        "book.png": draw(record, LIGHT),
    }
    write_files(folder, contents)


def _cluster(cluster: Mapping[str, Any], most: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A cluster with different patches of those of its prototypes that prune most."""
    nearest = [each["examples"][0] for each in most if each["cluster"] == cluster["number"]]
    different = {place_of(example): example for example in reversed(nearest)}
    shown = list(reversed(different.values()))[:SHOWN]
    return {**cluster, "said": words_of(dict(cluster)), "examples": shown}


def _patches(
    of: Mapping[str, Any], patches: Patches, record: Mapping[str, Any]
) -> list[dict[str, int | str]]:
    """Where on the sheet the patches are, and what they show."""
    found: list[dict[str, int | str]] = []
    for example in of["examples"]:
        if place := place_of(example):
            x, y = patches.places[place]
            row, column = example["cell"][2:]
            shows = f"row {row}, column {column} of {record['pictures'][example['picture']]}"
            found.append({"x": x, "y": y, "shows": f"{shows}, cosine {example['cosine']:.3f}"})
    return found
