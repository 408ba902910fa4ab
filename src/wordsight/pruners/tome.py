"""ToMe after the projector: merge the most similar pairs of tokens until few are left.

"Token Merging: Your ViT But Faster", https://arxiv.org/abs/2210.09461. Re-implemented from the rule of
bipartite matching. Differs from the released code: it merges projected tokens, by their cosine, not the keys
inside every layer of the vision tower, so the tower is no faster. Kept tokens stay where they were, since
closing the gaps ruins grounding (`positions`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wordsight.algorithms.selection import most_similar, top_indices, with_doubles
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, MergePruner
from wordsight.pruners.scopes import BudgetScope


@dataclass(kw_only=True)
class ToMe(MergePruner):
    """In rounds: every other token is linked to the most similar of those between; the most similar links
    merge into means, each weighted by how many tokens it was made of. At most half of the tokens go in a
    round.
    """

    PUBLISHED = CONTIGUOUS
    budget: BudgetScope = "crop"

    def merge_weights(self, tokens: VisualTokens, count: int) -> tuple[Tensor, Tensor]:
        # In double precision, so that the mean of copies of a token is that token.
        sums = with_doubles(tokens.embeds).double()  # (N, D)
        everyone = torch.arange(len(tokens), device=sums.device)
        left, part_of = everyone, everyone
        while len(left) > count:
            ours, theirs = left[::2], left[1::2]
            means = sums / part_of.bincount(minlength=len(tokens)).clamp(min=1)[:, None]
            link, partner = most_similar(means[ours], means[theirs])
            going = top_indices(link, min(len(left) - count, len(theirs)))
            merged, into = ours[going], theirs[partner[going]]
            sums = sums.index_add(0, into, sums[merged])
            joins = everyone.index_copy(0, merged, into)
            left, part_of = left[joins[left] == left], joins[part_of]
        left, part_of = left.to(tokens.embeds.device), part_of.to(tokens.embeds.device)
        is_part = (part_of == left[:, None]).float()  # (count, N)
        return left, is_part / is_part.sum(1, keepdim=True)
