"""VidCom2: of a video, keep in each frame what is unlike the frame and the video, most in unusual frames.

"Video Compression Commander: Plug-and-Play Inference Acceleration for Video Large Language Models",
https://arxiv.org/abs/2505.14454. Re-implemented from the rule. Differs from the released code: frames share
the budget exactly, whatever they round to.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from wordsight._utils.options import Positive
from wordsight.algorithms.selection import split_budget
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import Pruner

BANDWIDTHS = [2.0**k for k in range(-3, 2)]


@dataclass(kw_only=True)
class VidCom2(Pruner):
    """temperature: the lower, the more an unusual frame gets beyond its equal share. Channels that vary
    least, half of them, are compared.
    """

    temperature: Positive = 0.01

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
        sizes = [len(frame) for frame in frames]
        weights = ((1 + share - share.mean()) * torch.tensor(sizes, device=share.device)).tolist()
        usual = to_video + to_frame
        chosen = [
            frame[usual[frame].argsort(stable=True)[:count]]
            for frame, count in zip(frames, split_budget(self.budget(tokens), weights, sizes), strict=True)
        ]
        return tokens.take(torch.cat(chosen))


def _nearness(rows: Tensor, center: Tensor) -> Tensor:
    """(N,) how near the rows (N, D) are to the center, by Gaussians of several widths."""
    squared = (rows - center).square().sum(-1)
    return torch.stack([(-squared / (2 * width)).exp() for width in BANDWIDTHS]).sum(0)
