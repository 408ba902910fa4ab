"""Pool: average neighboring tokens. The baseline that costs nothing, beside random tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import MergePruner
from wordsight.pruners.uniform import Uniform


@dataclass(kw_only=True)
class Pool(MergePruner):
    """The tokens of an even grid (as `uniform`), each the mean of all tokens that are nearest to it in its
    picture.
    """

    def merge_weights(self, tokens: VisualTokens, count: int) -> tuple[Tensor, Tensor]:
        kept = Uniform(tokens=count).select(tokens)
        places, anchors = tokens.cell.float(), kept.cell.float()  # (N, 4), (K, 4)
        elsewhere = (places[:, None, :2] != anchors[None, :, :2]).any(-1)  # (N, K)
        apart = torch.cdist(places[:, 2:], anchors[:, 2:])
        # A picture with no anchor joins the nearest one before or after it in reading order.
        apart = apart + elsewhere * (1e6 + 1e3 * (tokens.slot[:, None] - kept.slot[None]).abs())
        member = apart.argmin(-1)  # (N,)
        is_member = (member == torch.arange(count, device=member.device)[:, None]).float()  # (K, N)
        return torch.searchsorted(tokens.slot, kept.slot), is_member / is_member.sum(1, keepdim=True)
