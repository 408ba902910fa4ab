"""A pruner outside the package: `--pruner my_module:MyPruner`, from the folder with this file."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wordsight import ScorePruner, VisualTokens


@dataclass(kw_only=True)
class MyPruner(ScorePruner):
    """Keeps the tokens that are least, or most, like the mean token."""

    common: bool = False

    def score(self, tokens: VisualTokens) -> Tensor:
        embeds = tokens.embeds.float()
        likeness = torch.cosine_similarity(embeds, embeds.mean(0, keepdim=True), -1)  # (N,)
        return likeness if self.common else -likeness
