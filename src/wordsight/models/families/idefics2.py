"""Idefics2: a fixed number of learned queries for every picture, each of which reads all of it."""

from __future__ import annotations

from typing import Any

from torch import nn

from wordsight.models.families.base import Family, Grid, VisionContext


class Idefics2(Family):
    """model_type "idefics2". No token is of a part of a picture, so that there is no picture map; each is of
    its own picture (with `do_image_splitting`, of its own crop of one).
    """

    has_picture_map = False
    no_map = "each of them is read from a whole picture"

    def grids(self, context: VisionContext) -> list[Grid]:
        queries = context.config.perceiver_config.resampler_n_latents
        return [Grid(image, 0, 1, queries) for image in range(sum(context.counts) // queries)]

    def projector(self, model: Any) -> nn.Module:
        connector: nn.Module = model.model.connector
        return connector


FAMILY = Idefics2()
