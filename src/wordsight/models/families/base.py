"""Family: what Hugging Face does not tell us about a model type, as far as it can be said for all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from wordsight.errors import ModelError
from wordsight.models.vision_tower import VisionTower

Region = tuple[float, float, float, float]  # left, top, right, bottom, as shares of a picture
Size = tuple[int, int]  # width and height


@dataclass(frozen=True)
class VisionContext:
    """What is known of the pictures of a prompt, or of its videos, once the vision tower has run.

    inputs     what the processor returned for it, by name, with the batch axis.
    features   (N_i, D) each: the projected tokens of every item that the model counts (a picture, a tile or a
               video, it depends).
    sizes      width and height of the pictures, or of the frames of all videos, in order; None if only what
               the processor returned is known.
    is_video   whether it is its videos.
    """

    config: Any
    processor: Any
    inputs: Mapping[str, Any]
    features: Sequence[Tensor]
    sizes: Sequence[Size] | None
    is_video: bool

    @property
    def counts(self) -> list[int]:
        """The number of tokens of every item."""
        return [len(item) for item in self.features]

    @property
    def frames(self) -> int:
        """How many frames all videos have."""
        if self.sizes is not None:
            return len(self.sizes)
        return sum(len(video) for video in self.inputs["pixel_values_videos"])

    def sizes_of(self, count: int) -> Sequence[Size | None]:
        """The sizes of so many pictures or frames, None where they are not known."""
        return [None] * count if self.sizes is None else self.sizes

    def runs(self, placeholder: int) -> list[tuple[int, int]]:
        """Start and length of every unbroken run of placeholders in the prompt."""
        ids = self.inputs["input_ids"][0]
        places = (ids == placeholder).nonzero()[:, 0]
        cuts = (places.diff() > 1).nonzero()[:, 0] + 1
        return [(int(run[0]), len(run)) for run in places.tensor_split(cuts.cpu()) if len(run)]


@dataclass(frozen=True)
class Grid:
    """Tokens read row by row: a whole picture, or a tile that begins at row `top` and column `left` of the
    `whole` (rows, columns) of one.

    region: the part of the picture that the whole grid covers, None if that is not known. row_breaks: every
    row ends in a line break. end_break: the grid does, once.
    """

    image: int
    crop: int
    rows: int
    columns: int
    top: int = 0
    left: int = 0
    whole: tuple[int, int] | None = None
    region: Region | None = (0, 0, 1, 1)
    row_breaks: bool = False
    end_break: bool = False

    def cells(self) -> list[tuple[int, int, int, int]]:
        """The cells of its tokens in reading order."""
        found = []
        for row in range(self.top, self.top + self.rows):
            columns = range(self.left, self.left + self.columns)
            found += [(self.image, self.crop, row, column) for column in columns]
            found += [(self.image, self.crop, row, -1)] * self.row_breaks
        return found + [(self.image, self.crop, -1, -1)] * self.end_break

    def boxes(self) -> list[Region]:
        """The boxes of its tokens, those of line breaks without width, if its region is known."""
        if self.region is None:
            return []
        rows, columns = self.whole or (self.rows, self.columns)
        left, top, right, bottom = self.region
        across, down = (right - left) / max(1, columns), (bottom - top) / max(1, rows)
        found = []
        for _, _, row, column in self.cells():
            x = right if column < 0 else left + column * across
            y = bottom if row < 0 else top + row * down
            found.append((x, y, x if column < 0 else x + across, y if row < 0 else y + down))
        return found


class Family:
    """One model type; by itself, one that we know nothing about.

    is_known         whether its type is; of one that is not, the first prompt is read both ways.
    has_picture_map  whether it is known which part of which picture a token is; if not, `no_map`
                     says why.
    per_token        inputs beside ids and positions that the language model takes for every token.
    generated        the values of those for a generated token.
    is_recurrent     whether layers carry a state from token to token (linear attention, convolution) beside
                     keys and values: prompts then share no beginning, and a masked token is no absent one.
    takes_beams      whether transformers gives several sequences of a prompt the tokens of its pictures.
    """

    is_known: ClassVar[bool] = True
    has_picture_map: ClassVar[bool] = True
    no_map: ClassVar[str] = ""
    per_token: ClassVar[tuple[str, ...]] = ()
    generated: ClassVar[Mapping[str, int]] = {}
    is_recurrent: ClassVar[bool] = False
    takes_beams: ClassVar[bool] = True

    def prepare(self, model: Any) -> None:
        """What a model needs once, so that it takes projected tokens in place of pictures."""

    def encoded(self, model: Any, output: Any) -> Any:
        """The projected tokens, a list or a tensor, in what its encoder returned; None if it has none."""
        return output.pooler_output

    def grids(self, context: VisionContext) -> list[Grid]:
        """The grids of all tokens of the prompt, in the order in which they are read; here a square one for
        every item, each a whole picture.
        """
        sides = [square_side(count) for count in context.counts]
        return [Grid(image, 0, side, side) for image, side in enumerate(sides)]

    def tower(self, model: Any) -> VisionTower | None:
        """The vision tower of this model, if signals can be read of it."""
        return None

    def signals(self, model: Any) -> frozenset[str]:
        """What pruners may ask the vision tower of this model for."""
        tower = self.tower(model)
        return tower.signals if tower else frozenset()

    def projector(self, model: Any) -> nn.Module:
        """The module that maps vision features into the language model's embedding space."""
        projector: nn.Module = model.model.multi_modal_projector
        return projector

    def is_read(self, context: VisionContext) -> Tensor | None:
        """Which of the encoder's tokens the language model reads; None for all of them."""
        return None

    def positions(self, model: Any, inputs: Mapping[str, Any]) -> Tensor:
        """(L,) position ids of the whole prompt; with M-RoPE (4, L): a count, then time, row, column."""
        ids = inputs["input_ids"][0]
        return torch.arange(len(ids), device=ids.device)

    def token_inputs(self, model: Any, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """(L,) each: what the language model takes of every token of the whole prompt, see `per_token`."""
        return {name: inputs[name][0] for name in self.per_token if name in inputs}

    def is_causal(self, model: Any) -> bool:
        """Whether no token reads a later one; if one does, prompts share no beginning."""
        return True

    def shares_beginning(self, model: Any) -> bool:
        """Whether what prompts begin with can be read once, and its cache repeated for all of them."""
        return self.is_causal(model) and not self.is_recurrent

    def whole_layers(self, model: Any) -> int:
        """How many of the first layers of the language model need all visual tokens: to those of each it adds
        features of its own (deepstack).
        """
        vision = getattr(model.config, "vision_config", None)
        return len(getattr(vision, "deepstack_visual_indexes", None) or ())

    def arrange_signal(self, model: Any, context: VisionContext, signal: Tensor) -> Tensor:
        """(N, ...) a signal of the tower's tokens as one of the tokens that the language model reads."""
        return signal


def inner_model(model: Any) -> Any:
    """The model under its language head; of a few types, all of it."""
    return getattr(model, "model", model)


def square_of(size: Size | None, *, inside: bool) -> Region | None:
    """The square in the middle of a picture of `size`, or the smallest around it; None of an unknown size."""
    if size is None:
        return None
    side = min(size) if inside else max(size)
    x, y = (side / edge / 2 for edge in size)
    return 0.5 - x, 0.5 - y, 0.5 + x, 0.5 + y


def square_side(count: int) -> int:
    """The side of a square of so many tokens."""
    side = math.isqrt(count)
    if side * side != count:
        raise ModelError(f"expected a square grid of visual tokens, got {count} tokens")
    return side
