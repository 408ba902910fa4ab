"""ToMe after the projector: merge the most similar pairs of tokens until few are left.

"Token Merging: Your ViT But Faster", https://arxiv.org/abs/2210.09461. Re-implemented from the rule of
bipartite matching. Differs from the released code: it merges projected tokens, by their cosine, not the keys
inside every layer of the vision tower, so the tower is no faster.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from wordsight.pruners.base import MergePruner
from wordsight.selectors import cosine
from wordsight.tokens import VisualTokens


@dataclass(kw_only=True)
class ToMe(MergePruner):
    """In rounds: every other token is linked to the most similar of those between; the most similar links
    merge into means, each weighted by how many tokens it was made of. At most half of the tokens go in a
    round.
    """

    def merge(self, tokens: VisualTokens, count: int) -> VisualTokens:
        embeds = tokens.embeds.float()
        sizes = torch.ones(len(tokens), 1, device=embeds.device)
        left = torch.arange(len(tokens), device=embeds.device)
        while len(left) > count:
            ours, theirs = left[::2], left[1::2]
            link, partner = cosine(embeds[left])[::2, 1::2].max(-1)
            going = link.argsort(descending=True, stable=True)[: min(len(left) - count, len(theirs))]
            merged, into = ours[going], theirs[partner[going]]
            sums = (embeds * sizes).index_add(0, into, embeds[merged] * sizes[merged])
            sizes = sizes.index_add(0, into, sizes[merged])
            embeds = sums / sizes
            left = left[~torch.isin(left, merged)]
        return replace(tokens, embeds=embeds.to(tokens.embeds.dtype)).take(left)
