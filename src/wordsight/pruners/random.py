"""Random: keep tokens drawn uniformly. The baseline that many published methods do not beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wordsight._utils.options import Seed
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import ScorePruner


@dataclass(kw_only=True)
class Random(ScorePruner):
    """A seeded draw that differs from picture to picture: the picture's own tokens go into the seed."""

    seed: Seed = 0

    def score(self, tokens: VisualTokens) -> Tensor:
        picture = int(tokens.embeds.float().abs().sum().item() * 1024)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + picture)
        return torch.rand(len(tokens), generator=generator).to(tokens.embeds.device)
