"""HoliTom: merge what stays the same in a video, and keep of the rest what gets attention.

"HoliTom: Holistic Token Merging for Fast Video Large Language Models", https://arxiv.org/abs/2505.21334.
Re-implemented from the rule; its part inside the language model is not here. Differs from the released code:
ties are broken by index instead of random noise, tokens are read in their order (there, without line breaks,
what a window has merged comes first), and, unless `rounding=released`, shares of the budget are rounded by
largest remainders, and where merging alone leaves fewer than the budget, the windows that save least are not
merged (there fewer are kept). Kept tokens stay where they were, since closing the gaps ruins grounding
(`positions`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Interval
from torch import Tensor
from torch.nn.functional import one_hot

from wordsight._utils.options import Fraction, Rounding
from wordsight.algorithms.clustering import dpc_centers, nearest_centers
from wordsight.algorithms.frames import frame_table, leave_enough, place_cosine, spread, window_groups
from wordsight.algorithms.selection import split_budget, top_indices
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, MergePruner

NEIGHBORS = 7


@dataclass(kw_only=True)
class HoliTom(MergePruner):
    """The video is cut into the windows of frames in which most tokens can be merged with those at the same
    place of the frames after: those whose cosine is above `similarity` from each frame to the next. What is
    merged is clustered (DPC-KNN), and a cluster is `center` times its center and the rest its other members;
    of what changes, each frame keeps the tokens with most attention.

    The authors have 0.8 for `similarity`, and 0.65 where they keep a tenth.

    rounding: "released" keeps of everything the same share, rounded, of what changes in a frame rounded up.
    """

    PUBLISHED: ClassVar = {**CONTIGUOUS, "rounding": "released"}
    required_signals: ClassVar[frozenset[str]] = frozenset({"cls_attention"})
    similarity: Annotated[float, Interval(ge=-1, le=1)] = 0.8
    center: Fraction = 0.6
    rounding: Rounding = "exact"

    def merge_weights(self, tokens: VisualTokens, count: int) -> tuple[Tensor, Tensor]:
        embeds, attention = tokens.embeds.float(), tokens.signals["cls_attention"].float()
        table = frame_table(tokens.cell)
        same = place_cosine(embeds, table[:-1], table[1:]) > self.similarity  # (frames - 1, places)
        lengths = _windows(same)
        # One row fewer than frames: a window of one frame has none, and nothing in it stays the same.
        rows = torch.split(torch.cat([same, same.new_zeros(1, same.shape[1])]), lengths)
        still = [row[:-1].all(0) & (len(row) > 1) for row in rows]
        if self.rounding == "exact":
            still = leave_enough(still, lengths, len(tokens) - count)
        groups = list(window_groups(table, lengths, still))
        index, weights = [], []
        for group, few in zip(groups, self._shares(groups, count, len(tokens)), strict=True):
            if group.shape[1] == 1:
                best = top_indices(attention[group[:, 0]], few)
                mixed = one_hot(best, len(group)).float()
            else:
                best, mixed = self._clusters(embeds[group].mean(1), few)
            index.append(group[best, 0])
            weights.append(spread(mixed, group, len(tokens)))
        return torch.cat(index), torch.cat(weights)

    def _shares(self, groups: Sequence[Tensor], count: int, total: int) -> list[int]:
        """How many are kept of each group (M, frames), of so many tokens in all."""
        sizes = [len(group) for group in groups]
        if self.rounding == "exact":
            return split_budget(count, sizes, sizes)
        wanted = self.tokens or self.keep * total
        share = min(1.0, wanted / sum(sizes))
        rounded = (math.ceil if group.shape[1] == 1 else round for group in groups)
        return [to_whole(size * share) for size, to_whole in zip(sizes, rounded, strict=True)]

    def _clusters(self, points: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """(count,) which of the points (M, D) are centers, and (count, M) how much of each is in their
        clusters.
        """
        if not count:
            return torch.zeros(0, dtype=torch.long, device=points.device), points.new_zeros(0, len(points))
        centers = dpc_centers(points, count, min(NEIGHBORS, count), "sqrt_dim")
        members = one_hot(nearest_centers(points, centers), count).T.float()  # (count, M)
        members[torch.arange(count), centers] = 0
        others = members.sum(1, keepdim=True)
        itself = one_hot(centers, len(points)) * torch.where(others > 0, self.center, 1.0)
        return centers, itself + (1 - self.center) * members / others.clamp(min=1)


def _windows(same: Tensor) -> list[int]:
    """The lengths of the windows of frames in which most tokens go, if of every place that stays the same in
    one, from each frame to the next (frames - 1, places), one token stays.
    """
    frames = len(same) + 1
    best, length = [0], [0]  # of the first frames: how many go at most, and how long the last window is then
    gone = [[0] * (frames + 1) for _ in range(frames)]  # of frames start to end - 1
    for start in range(frames - 1):
        still = same[start:].cumprod(0).sum(1).tolist()  # of so many places, up to each of the later frames
        for end in range(start + 2, frames + 1):
            gone[start][end] = still[end - start - 2] * (end - start - 1)
    for end in range(1, frames + 1):
        choices = [best[start] + gone[start][end] for start in range(end)]
        best.append(max(choices))
        # The shortest of the windows that are equally good.
        length.append(end - max(start for start in range(end) if choices[start] == best[-1]))
    found = []
    while frames:
        found.append(length[frames])
        frames -= found[-1]
    return found[::-1]
