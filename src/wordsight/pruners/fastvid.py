"""FastVID: cut a video into segments; keep what gets attention, and merge the rest around dense anchors.

"FastVID: Dynamic Density Pruning for Fast Video Large Language Models", https://arxiv.org/abs/2503.11187.
Re-implemented from the rule. Differs from the released code: frames are compared by the mean of their tokens
and attention is that of the tower, as there for Qwen2.5-VL (for LLaVA both are of a head that the model does
not have); the budget is split exactly; ties are broken by index instead of random noise; and what anchors
have no room for goes to tokens with attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from annotated_types import Interval
from torch import Tensor
from torch.nn.functional import cosine_similarity, one_hot

from wordsight._utils.options import Count, Fraction
from wordsight.algorithms.clustering import dpc_centers
from wordsight.algorithms.frames import frame_means, frame_table
from wordsight.algorithms.selection import cosine, split_budget, top_indices
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import MergePruner

NEIGHBORS = 4


@dataclass(kw_only=True)
class FastVID(MergePruner):
    """segments: how many there are at least; a new one begins between frames that are most unlike, and
    between all whose cosine is below `similarity`.

    context: the share of a frame's budget that is merged, in [0, 1]; the rest are the tokens of the frame
    with most attention. Every `every`-th frame of a segment, from the last one back, gets what its frames
    have for merging: densest tokens far from denser ones, each `center` times itself, at least, and the rest
    the mean of the segment's other tokens that are most similar to it.
    """

    PUBLISHED: ClassVar = {}
    required_signals: ClassVar[frozenset[str]] = frozenset({"cls_attention"})
    segments: Count = 8
    similarity: Annotated[float, Interval(ge=-1, le=1)] = 0.9
    context: Fraction = 0.4
    every: Count = 4
    center: Fraction = 0.6

    def merge_weights(self, tokens: VisualTokens, count: int) -> tuple[Tensor, Tensor]:
        embeds, attention = tokens.embeds.float(), tokens.signals["cls_attention"].float()
        table = frame_table(tokens.cell)
        frames = [row[row >= 0] for row in table]
        sizes = [len(frame) for frame in frames]
        budgets = split_budget(count, sizes, sizes)
        index, weights, start = [], [], 0
        for length in self._lengths(frame_means(embeds, table)):
            part = slice(start, start + length)
            salient, anchors = self._shares(budgets[part], sizes[part])
            ranked = [frame[top_indices(attention[frame], len(frame))] for frame in frames[part]]
            kept = [order[:few] for order, few in zip(ranked, salient, strict=True)]
            rest = [order[few:].sort().values for order, few in zip(ranked, salient, strict=True)]
            index += kept
            weights += [one_hot(frame, len(tokens)).float() for frame in kept]
            for frame, few in zip(rest, anchors, strict=True):
                if few:
                    centers = frame[dpc_centers(embeds[frame], few, NEIGHBORS, "sqrt_dim")]
                    index.append(centers)
                    weights.append(self._merged(embeds, centers, torch.cat(rest)))
            start += length
        return torch.cat(index), torch.cat(weights)

    def _lengths(self, means: Tensor) -> list[int]:
        """Of the segments of frames with these means (frames, D)."""
        alike = cosine_similarity(means[:-1], means[1:], dim=-1)
        ends = set(top_indices(-alike, self.segments - 1).tolist())
        ends |= set((alike < self.similarity).nonzero()[:, 0].tolist())
        marks = [-1, *sorted(ends), len(alike)]
        return [end - start for start, end in pairwise(marks)]

    def _shares(self, budgets: list[int], sizes: list[int]) -> tuple[list[int], list[int]]:
        """How many tokens each frame of a segment keeps, and how many merged ones it gets."""
        merged = [int(budget * self.context) for budget in budgets]
        salient = [budget - few for budget, few in zip(budgets, merged, strict=True)]
        is_anchor = [i % self.every == 0 for i in reversed(range(len(sizes)))]
        room = [
            size - few if anchor else 0 for size, few, anchor in zip(sizes, salient, is_anchor, strict=True)
        ]
        anchors = split_budget(min(sum(merged), sum(room)), [float(anchor) for anchor in is_anchor], room)
        free = [size - few - more for size, few, more in zip(sizes, salient, anchors, strict=True)]
        beyond = split_budget(sum(merged) - sum(anchors), free, free)
        return [few + more for few, more in zip(salient, beyond, strict=True)], anchors

    def _merged(self, embeds: Tensor, centers: Tensor, rest: Tensor) -> Tensor:
        """(centers, N) how much of each of the tokens is in the merged ones, of the rest of a segment."""
        nearest = cosine(embeds[torch.cat([rest, centers])])[: len(rest), len(rest) :].argmax(-1)
        members = one_hot(nearest, len(centers)).T.float()  # (centers, rest)
        size = members.sum(1, keepdim=True)
        itself = (1 / (size + 1)).clamp(min=self.center)
        weights = one_hot(centers, len(embeds)) * itself
        return weights.index_add(1, rest, (1 - itself) * members / size.clamp(min=1))
