"""Early: what is known of tokens before their question is answered, from what `explain_tokens` reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from typing_extensions import TypedDict

from wordsight._utils.numbers import rounded
from wordsight.explain.panels import PanelRecord, numbered, panels, pictures
from wordsight.models.tokens import VisualTokens
from wordsight.viewer.handler import ViewRequest

FORMAT = 1


class PicturePanelRecord(PanelRecord):
    """A picture or frame that tokens are of, and how it looks."""

    picture: Annotated[str, "a data URL"]


class PlacesRecord(TypedDict):
    """Where the tokens of a question lie, in the order of the numbers that words are given by."""

    format: int
    panels: list[PicturePanelRecord]
    cell: Annotated[list[list[int]], "per token its panel, crop, row and column"]
    box: Annotated[list[list[float]], "per token left, top, right and bottom, as shares of the picture"]


def places(request: ViewRequest, tokens: VisualTokens) -> PlacesRecord:
    """Where the tokens of a request lie, with its pictures."""
    assert tokens.box is not None, "a family with a picture map gives boxes"
    found = panels(request.media, tokens, numbered(request.names))
    looks = pictures(request.media, found)
    return {
        "format": FORMAT,
        "panels": [{**panel, "picture": look} for panel, look in zip(found, looks, strict=True)],
        "cell": tokens.cell.tolist(),
        "box": rounded(tokens.box),
    }


def words(found: Sequence[Any]) -> dict[int, str | None]:
    """By the numbers of tokens the words that are known."""
    parts: Sequence[Mapping[int, str | None]] = found[1:]  # the first are the tokens themselves
    return {number: word for part in parts for number, word in part.items()}
