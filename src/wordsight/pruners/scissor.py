"""LLaVA-Scissor: merge tokens that are connected by similar ones, first in each frame, then over frames.

"LLaVA-Scissor: Token Compression with Semantic Connected Components for Video LLMs",
https://arxiv.org/abs/2506.21862. Re-implemented from the rule. Differs from the released code: the budget
decides how similar frames' tokens must be (there as in a frame, and whatever is left); components are exact
(there of a random sample of tokens); and a merged token has the place of the one of its component which is
most similar to it. Kept tokens stay where they were, since closing the gaps ruins grounding (`positions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from wordsight.algorithms.linkage import Link, components, divided, linkage
from wordsight.algorithms.selection import cosine, top_indices
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, MergePruner


@dataclass(kw_only=True)
class Scissor(MergePruner):
    """Tokens of a frame whose cosine is above `similarity` are connected, and so are the most similar means
    of what is connected in frames, until as many components as tokens to keep are left; each becomes the mean
    of its own mean and of all tokens most similar to that. Where `similarity` leaves too few, it is as much
    higher as it takes.
    """

    PUBLISHED = CONTIGUOUS
    similarity: Annotated[float, Interval(ge=-1, le=1)] = 0.9

    def merge_weights(self, tokens: VisualTokens, count: int) -> tuple[Tensor, Tensor]:
        embeds, image = tokens.embeds.float(), tokens.cell[:, 0]
        frames = [(image == frame).nonzero()[:, 0] for frame in torch.unique(image)]
        trees = [_tree(embeds[frame]) for frame in frames]
        threshold = self.similarity
        if count > len(frames):
            weakest = sorted(link.similarity for tree in trees for link in tree)
            threshold = max(threshold, weakest[count - len(frames) - 1])
        first = _within(frames, trees, threshold)  # (N,)
        sizes = first.bincount()
        parts = embeds.new_zeros(len(sizes), embeds.shape[1]).index_add(0, first, embeds) / sizes[:, None]
        second = first.new_tensor(divided(_tree(parts), count))  # (components of frames,)
        component = second[first]
        share = 1 / (sizes[first] * second.bincount()[component])  # (N,) of a token in the mean
        means = embeds.new_zeros(count, embeds.shape[1]).index_add(0, component, embeds * share[:, None])
        near = normalize(embeds, dim=-1) @ normalize(means, dim=-1).T  # (N, count)
        members = one_hot(near.argmax(-1), count).T  # (count, N)
        weights = (one_hot(component, count).T * share + members) / (1 + members.sum(1, keepdim=True))
        return _most_alike(near, component), weights


def _tree(embeds: Tensor) -> list[Link]:
    """The links of tokens (N, D) by their cosine, which rounding leaves no larger than 1."""
    return linkage(cosine(embeds).clamp(max=1))


def _within(frames: list[Tensor], trees: list[list[Link]], threshold: float) -> Tensor:
    """(N,) the component of each token among those of its frame."""
    found = torch.zeros_like(torch.cat(frames))
    start = 0
    for frame, links in zip(frames, trees, strict=True):
        found[frame] = found.new_tensor(components(links, threshold)) + start
        start = int(found[frame].max()) + 1
    return found


def _most_alike(near: Tensor, component: Tensor) -> Tensor:
    """(count,) of each component the token of it that is nearest to it (N, count)."""
    order = top_indices(near.gather(1, component[:, None])[:, 0], len(component))
    first = (component[order] == torch.arange(near.shape[1], device=near.device)[:, None]).int().argmax(1)
    return order[first]
