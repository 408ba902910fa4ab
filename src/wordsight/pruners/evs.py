"""EVS: of a video, keep the first frame and what differs most from the frame before.

Efficient Video Sampling (NVIDIA), https://arxiv.org/abs/2510.14624. Re-implemented from the rule that vLLM
has. Differs from it: the number of tokens is `keep`, so that methods are compared at equal budgets, which may
be less than a frame has, unless `rounding=released`. It is for videos: of a single picture it keeps the first
rows, and of several each is compared with the one before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wordsight._utils.options import Rounding
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import ScorePruner

FIRST = 255.0  # above every difference


@dataclass(kw_only=True)
class EVS(ScorePruner):
    """One minus the cosine with the token of the same cell in the frame before.

    rounding: "released" rounds the budget down, and keeps no less than a frame.
    """

    PUBLISHED: ClassVar = {"rounding": "released"}
    rounding: Rounding = "exact"

    def count(self, tokens: VisualTokens) -> int:
        if self.rounding == "exact":
            return super().count(tokens)
        frame = int((tokens.cell[:, 0] == tokens.cell[0, 0]).sum())
        return min(max(frame, self.tokens or int(self.keep * len(tokens))), len(tokens))

    def score(self, tokens: VisualTokens) -> Tensor:
        cells = tokens.cell.tolist()
        places = {tuple(cell): i for i, cell in enumerate(cells)}
        before = [places.get((frame - 1, *cell)) for frame, *cell in cells]
        scores = torch.full((len(tokens),), FIRST, device=tokens.embeds.device)
        later = [i for i, other in enumerate(before) if other is not None]
        earlier = [other for other in before if other is not None]
        embeds = tokens.embeds.float()
        scores[later] = 1 - torch.cosine_similarity(embeds[later], embeds[earlier], -1)
        return scores
