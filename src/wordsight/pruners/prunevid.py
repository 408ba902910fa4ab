"""PruneVid, its spatial-temporal part: merge what stays the same in a scene of a video, and what is alike.

"PruneVid: Visual Token Pruning for Efficient Video Large Language Models", https://arxiv.org/abs/2412.16117.
Re-implemented from the rule; its part inside the language model is not here. Differs from the released code:
the budget decides how many clusters there are (there half as many as tokens, and as many of up to 14), in
proportion to what there is to merge; ties are broken by index instead of random noise; merged tokens have the
places of the centers of their clusters; and where merging over scenes alone leaves fewer than the budget, the
scenes that save least are not merged. Kept tokens stay where they were, since closing the gaps ruins
grounding (`positions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from wordsight._utils.options import Fraction
from wordsight.algorithms.clustering import dpc_centers, nearest_centers
from wordsight.algorithms.frames import frame_means, frame_table, leave_enough, spread, window_groups
from wordsight.algorithms.selection import split_budget
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, MergePruner

NEIGHBORS = 7


@dataclass(kw_only=True)
class PruneVid(MergePruner):
    """Frames are clustered (DPC-KNN of their means) into at most `scenes` times as many scenes, each an
    unbroken run of frames. Tokens at a place whose mean cosine over pairs of frames of the scene is above
    `similarity` are one for the scene; they, and the other tokens of each frame, are clustered into means.
    """

    PUBLISHED = CONTIGUOUS
    similarity: Annotated[float, Interval(ge=-1, le=1)] = 0.8
    scenes: Fraction = 0.25

    def merge_weights(self, tokens: VisualTokens, count: int) -> tuple[Tensor, Tensor]:
        embeds, table = tokens.embeds.float(), frame_table(tokens.cell)
        means = frame_means(embeds, table)
        lengths = _scenes(_clusters(means, max(1, int(len(table) * self.scenes)))[1].tolist())
        still = [self._still(embeds, rows) for rows in torch.split(table, lengths)]
        groups = list(window_groups(table, lengths, leave_enough(still, lengths, len(tokens) - count)))
        sizes = [len(group) for group in groups]
        index, weights = [], []
        for group, few in zip(groups, split_budget(count, sizes, sizes), strict=True):
            if few:
                centers, cluster = _clusters(embeds[group].mean(1), few)
                members = one_hot(cluster, few).T.float()
                index.append(group[centers, 0])
                weights.append(spread(members / members.sum(1, keepdim=True), group, len(tokens)))
        return torch.cat(index), torch.cat(weights)

    def _still(self, embeds: Tensor, rows: Tensor) -> Tensor:
        """(places,) where the tokens of the frames of a scene (frames, places) are alike."""
        frames = len(rows)
        if frames == 1:
            return torch.zeros_like(rows[0], dtype=torch.bool)
        squared = normalize(embeds, dim=-1)[rows].sum(0).square().sum(-1)  # over pairs, each with itself too
        return ((squared - frames) / (frames * (frames - 1)) > self.similarity) & (rows >= 0).all(0)


def _clusters(points: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The centers of so many clusters of points (M, D), and the cluster of each point."""
    centers = dpc_centers(points, count, NEIGHBORS, "sqrt_dim")
    return centers, nearest_centers(points, centers)


def _scenes(labels: list[int]) -> list[int]:
    """The lengths of the scenes of frames that have these clusters: the longest run of several frames of each
    cluster; what is between joins the longer of the runs beside it, the earlier one of two equals.
    """
    runs = [(label, len(list(run))) for label, run in groupby(labels)]
    longest: dict[int, int] = {}
    for label, length in runs:
        longest[label] = max(length, longest.get(label, 0))
    kept = [(label if length == longest[label] > 1 else None, length) for label, length in runs]
    joined = [
        (label, sum(length for _, length in run)) for label, run in groupby(kept, key=lambda each: each[0])
    ]
    found: list[tuple[int | None, int]] = []
    for i, (label, length) in enumerate(joined):
        if label is None and (beside := found[-1:] + joined[i + 1 : i + 2]):
            label = max(beside, key=lambda each: each[1])[0]
        if found and found[-1][0] == label:
            length += found.pop()[1]
        found.append((label, length))
    return [length for _, length in found]
