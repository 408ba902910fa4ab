"""The report of a book: its page, its figure and its record, as a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wordsight._utils.records import json_text
from wordsight.analysis.prototypes import Cluster, Inspection, NearestToken, Prototype
from wordsight.reports.book import sentences, words_of
from wordsight.reports.book_figure import draw
from wordsight.reports.folder import write_files
from wordsight.reports.page import figure, inline, render
from wordsight.reports.palette import DARK, LIGHT
from wordsight.reports.patches import SIDE, Patches, place_of

ROWS = 200  # prototypes with patches on the page; the record has all
CLUSTER_PATCHES = 8


class _Card(Cluster):
    """A cluster as the page shows it."""

    common: str
    examples: list[NearestToken]


def write_book_report(record: Inspection, pictures: Sequence[Path], folder: Path) -> None:
    """Write BOOK_FILES into the folder, or none; `pictures` are those of the record."""
    most = sorted(record["prototypes"], key=lambda each: -each["prunes"])
    rows = most[:ROWS]
    clusters = [_cluster(each, most) for each in record["clusters"]]
    examples = [each["examples"] for each in rows] + [each["examples"] for each in clusters]
    patches = Patches.of([example for some in examples for example in some], pictures)
    light, dark = draw(record, LIGHT), draw(record, DARK)
    text = render(
        "book.html",
        title="wordsight codebook inspect",
        tables=[],
        environment={**record["environment"], "book": record["book"]},
        record=record,
        sentences=sentences(record),
        figures=[figure(light, dark)],
        clusters=[{**each, "patches": _places(each["examples"], patches, record)} for each in clusters],
        rows=[{**each, "patches": _places(each["examples"], patches, record)} for each in rows],
        sheet=inline(patches.sheet, "jpeg"),
        side=SIDE,
    )
    contents: dict[str, bytes | str] = {
        "book.html": text,
        "book.json": json_text(record) + "\n",
        "book.png": light,
    }
    write_files(folder, contents)


def _cluster(cluster: Cluster, most: Sequence[Prototype]) -> _Card:
    """A cluster with different patches of those of its prototypes that prune most."""
    nearest = [each["examples"][0] for each in most if each["cluster"] == cluster["number"]]
    different = {place_of(example): example for example in reversed(nearest)}
    examples = list(reversed(different.values()))[:CLUSTER_PATCHES]
    return {**cluster, "common": words_of(cluster), "examples": examples}


def _places(
    examples: Sequence[NearestToken], patches: Patches, record: Inspection
) -> list[dict[str, int | str]]:
    """Where on the sheet the patches are, and what they show."""
    places: list[dict[str, int | str]] = []
    for example in examples:
        if place := place_of(example):
            x, y = patches.places[place]
            row, column = example["cell"][2:]
            shows = f"row {row}, column {column} of {record['pictures'][example['picture']]}"
            places.append({"x": x, "y": y, "shows": f"{shows}, cosine {example['cosine']:.3f}"})
    return places
