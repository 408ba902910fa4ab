"""Pictures of tokens: their words on the picture they come from, the dropped ones grayed out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from rich.table import Table
from rich.text import Text
from torch import Tensor

from wordsight.errors import UsageError
from wordsight.models.tokens import VisualTokens
from wordsight.reports.palette import OUTLINE

NOTHING = "·"  # what is drawn of a token that says nothing
CELL = 72  # pixels of a token in a drawing: enough for a word
Box = tuple[int, int, int, int]


def finest(tokens: VisualTokens, image: int = 0) -> Tensor:
    """The indices of the tokens that show a picture (or frame) in its finest grid, line breaks left out."""
    here = (tokens.cell[:, 0] == image) & ~tokens.is_break
    return (here & (tokens.cell[:, 1] == tokens.cell[here, 1].max())).nonzero()[:, 0]


def boxes(picture: Image.Image, tokens: VisualTokens) -> list[Box]:
    """The boxes of tokens in pixels of the picture they show; padding around it has none."""
    if tokens.box is None:
        raise UsageError("these tokens have no picture map to draw by; the model's family is not known")
    edges = tokens.box.cpu().clamp(0, 1) * torch.tensor([picture.width, picture.height] * 2)
    return [(left, top, right, bottom) for left, top, right, bottom in edges.round().int().tolist()]


def enlarged(picture: Image.Image, token_boxes: Sequence[Box]) -> Image.Image:
    """The picture at a size at which a word fits on each of its tokens."""
    smallest = min(min(right - left, bottom - top) for left, top, right, bottom in token_boxes)
    factor = max(1.0, CELL / max(1, smallest))
    size = (round(picture.width * factor), round(picture.height * factor))
    return picture.resize(size, Image.Resampling.LANCZOS)


def labels(words: Sequence[Sequence[Sequence[Any]]], says_nothing: Sequence[bool]) -> list[tuple[str, float]]:
    """What is drawn of every token: the likeliest of its words and its probability, or a faint dot."""
    return [
        (NOTHING, 0.0) if nothing else (likeliest[0], likeliest[1])
        for (likeliest, *_), nothing in zip(words, says_nothing, strict=True)
    ]


def draw_words(
    picture: Image.Image, token_boxes: Sequence[Box], words: Sequence[tuple[str, float]]
) -> Image.Image:
    """The picture with every token's word on it; the more confident, the darker its label."""
    drawing = picture.convert("RGBA")
    labels = Image.new("RGBA", drawing.size)
    draw = ImageDraw.Draw(labels)
    for (left, top, right, bottom), (word, confidence) in zip(token_boxes, words, strict=True):
        shade = int(60 + 190 * confidence)
        draw.rectangle((left, top, right, bottom), outline=(255, 255, 255, 90))
        font = _fitting(word, right - left - 6)
        middle = ((left + right) // 2, (top + bottom) // 2)
        draw.rectangle(draw.textbbox(middle, word, font, anchor="mm"), fill=(0, 0, 0, shade))
        draw.text(middle, word, (255, 255, 255, max(130, shade)), font, anchor="mm")
    return Image.alpha_composite(drawing, labels).convert("RGB")


def _fitting(word: str, width: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    for size in (18, 15, 12, 9):
        font = ImageFont.load_default(size)
        if font.getlength(word) <= width:
            return font
    return font


def draw_kept(picture: Image.Image, token_boxes: Sequence[Box], kept: set[int]) -> Image.Image:
    """The picture with every dropped token faded to gray; `kept` are indices into `token_boxes`."""
    faded = Image.blend(picture.convert("L").convert("RGB"), Image.new("RGB", picture.size, "white"), 0.75)
    for i in kept:
        faded.paste(picture.crop(token_boxes[i]), token_boxes[i][:2])
    draw = ImageDraw.Draw(faded)
    for i in kept:
        draw.rectangle(token_boxes[i], outline=OUTLINE, width=2)
    return faded


def side_by_side(panels: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Pictures of one height next to each other, each under its caption."""
    gap, title = 12, 34
    height = max(picture.height for _, picture in panels)
    canvas = Image.new("RGB", (sum(p.width + gap for _, p in panels) + gap, height + title + gap), "white")
    draw, left = ImageDraw.Draw(canvas), gap
    for caption, picture in panels:
        draw.text((left, 8), caption, "black", ImageFont.load_default(16))
        canvas.paste(picture, (left, title))
        left += picture.width + gap
    return canvas


def terminal_grid(tokens: VisualTokens, words: Sequence[tuple[str, float]]) -> Table:
    """One whole grid for the terminal: its words, the more confident the brighter."""
    height, width = (tokens.cell[:, 2:].max(0).values + 1).tolist()
    grid: list[list[Text]] = [[Text("") for _ in range(width)] for _ in range(height)]
    for (row, column), (word, confidence) in zip(tokens.cell[:, 2:].tolist(), words, strict=True):
        level = int(70 + 185 * confidence)
        grid[row][column] = Text(word[:7], style=f"rgb({level},{level},{level})")
    table = Table.grid(padding=(0, 1))
    for row_of_words in grid:
        table.add_row(*row_of_words)
    return table
