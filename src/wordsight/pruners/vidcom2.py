"""VidCom2: of a video, keep in each frame what is unlike the frame and the video, most in unusual frames.

"Video Compression Commander: Plug-and-Play Inference Acceleration for Video Large Language Models",
https://arxiv.org/abs/2505.14454. Re-implemented from the rule. Differs from the released code: frames share
the budget exactly, so that methods are compared at equal ones; `rounding=released` is as there. Kept tokens
stay where they were, since closing the gaps ruins grounding (`positions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from wordsight._utils.options import Positive, Rounding
from wordsight.algorithms.selection import split_budget
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, Pruner

BANDWIDTHS = [2.0**k for k in range(-3, 2)]


@dataclass(kw_only=True)
class VidCom2(Pruner):
    """temperature: the lower, the more an unusual frame gets beyond its equal share. Channels that vary
    least, half of them, are compared. rounding: "released" rounds the share of every frame by itself, to one
    token at least, so that the sum may be more or less than the budget.
    """

    PUBLISHED: ClassVar = {**CONTIGUOUS, "rounding": "released"}

    temperature: Positive = 0.01
    rounding: Rounding = "exact"

    def select(self, tokens: VisualTokens) -> VisualTokens:
        embeds = tokens.embeds.float()
        steady = embeds.var(0, correction=0).argsort(stable=True)[: embeds.shape[1] // 2]
        unit = normalize(embeds[:, steady], dim=-1)
        image = tokens.cell[:, 0]
        frames = [(image == frame).nonzero()[:, 0] for frame in torch.unique_consecutive(image)]
        to_video = _nearness(unit, unit.mean(0))  # (N,)
        to_frame = torch.zeros_like(to_video)
        for frame in frames:
            to_frame[frame] = _nearness(unit[frame], unit[frame].mean(0))
        unusual = torch.stack([-to_video[frame].mean() for frame in frames])
        share = (unusual / self.temperature).softmax(0)
        counts = self._counts(tokens, 1 + share - share.mean(), [len(frame) for frame in frames])
        usual = to_video + to_frame
        chosen = [
            frame[usual[frame].argsort(stable=True)[:count]]
            for frame, count in zip(frames, counts, strict=True)
        ]
        return tokens.take(torch.cat(chosen))

    def _counts(self, tokens: VisualTokens, weight: Tensor, sizes: list[int]) -> list[int]:
        """How many tokens each frame keeps, of their weights (F,) and sizes."""
        size = torch.tensor(sizes, device=weight.device)
        if self.rounding == "exact":
            return split_budget(self.count(tokens), (weight * size).tolist(), sizes)
        keep = self.tokens / len(tokens) if self.tokens else self.keep
        kept: list[int] = ((keep * weight).clamp(max=1) * size).round().clamp(min=1).int().tolist()
        return kept


def _nearness(rows: Tensor, center: Tensor) -> Tensor:
    """(N,) how near the rows (N, D) are to the center, by Gaussians of several widths."""
    squared = (rows - center).square().sum(-1)
    return torch.stack([(-squared / (2 * width)).exp() for width in BANDWIDTHS]).sum(0)
