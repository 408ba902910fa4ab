"""Family: what Hugging Face does not tell us about a model type, as far as it can be said for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class Family:
    """One model type. Subclasses say which cell of which picture a token is, and which signals the tower
    has.
    """

    signals: ClassVar[frozenset[str]] = frozenset()

    def cells(self, counts: list[int]) -> Tensor:
        """(N, 4) image, crop, row and column of every token, from the number of tokens of each image."""
        raise NotImplementedError

    def region(self, processor: Any, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """The part of a picture of `size` (width, height) that the grid of tokens covers: left, top, right,
        bottom.
        """
        raise NotImplementedError

    def projector(self, model: nn.Module) -> nn.Module:
        """The module that maps vision features into the language model's embedding space."""
        raise NotImplementedError

    def positions(self, input_ids: Tensor) -> Tensor:
        """(L,) position ids of the whole prompt."""
        return torch.arange(len(input_ids), device=input_ids.device)

    @contextmanager
    def collecting(self, model: nn.Module, names: frozenset[str]) -> Iterator[Mapping[str, Tensor]]:
        """While open, a pass of the vision tower fills the mapping with the named signals, (N,) each."""
        raise NotImplementedError
        yield {}
