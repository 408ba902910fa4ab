"""Pool: average neighbouring tokens. The baseline that costs nothing, beside random tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from wordsight.pruners.base import MergePruner
from wordsight.pruners.uniform import Uniform
from wordsight.tokens import VisualTokens


@dataclass(kw_only=True)
class Pool(MergePruner):
    """The tokens of an even grid (as `uniform`), each the mean of all tokens that are nearest to it in its
    picture.
    """

    def merge(self, tokens: VisualTokens, count: int) -> VisualTokens:
        kept = Uniform(keep=count).prune(tokens)
        places, anchors = tokens.cell.float(), kept.cell.float()  # (N, 4), (K, 4)
        elsewhere = (places[:, None, :2] != anchors[None, :, :2]).any(-1)  # (N, K)
        apart = torch.cdist(places[:, 2:], anchors[:, 2:])
        # A picture with no anchor joins the nearest one before or after it in reading order.
        apart = apart + elsewhere * (1e6 + 1e3 * (tokens.slot[:, None] - kept.slot[None]).abs())
        member = apart.argmin(-1)  # (N,)
        sums = torch.zeros(count, tokens.embeds.shape[1], device=member.device)
        sums.index_add_(0, member, tokens.embeds.float())
        means = sums / member.bincount(minlength=count)[:, None]
        return replace(kept, embeds=means.to(tokens.embeds.dtype))
