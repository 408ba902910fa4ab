"""DyCoke, its temporal part: of a video, keep every fourth frame, and what differs of the three after it.

"DyCoke: Dynamic Compression of Tokens for Fast Video Large Language Models",
https://arxiv.org/abs/2411.15024. Re-implemented from the rule; its second part, in the cache of the language
model, is not here. Differs from the released code: the third frame of the last four is no exception; the
budget decides how much goes, and their rate of 0.7 is keep=0.475; and a budget below the whole frames keeps
an even grid of each of them and nothing else. Kept tokens stay where they were, since closing the gaps ruins
grounding (`positions`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wordsight.algorithms.frames import frame_table, place_cosine
from wordsight.algorithms.selection import split_budget, top_indices
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, Pruner
from wordsight.pruners.uniform import Uniform

BEFORE = (0, 1, 2, 1)  # how many frames earlier is what each of four is compared with


@dataclass(kw_only=True)
class DyCoke(Pruner):
    """Of four frames, the second and the fourth are compared with the one before, the third with the first,
    each token with that of the same place; those that are most similar go, of each frame the same share.
    """

    PUBLISHED = CONTIGUOUS

    def select(self, tokens: VisualTokens) -> VisualTokens:
        count, table = self.count(tokens), frame_table(tokens.cell)
        number = torch.arange(len(table), device=table.device)
        whole = table[number % len(BEFORE) == 0]
        whole = whole[whole >= 0]
        if count <= len(whole):
            return Uniform(tokens=count).select(tokens.take(whole))
        earlier = number - number.new_tensor(BEFORE)[number % len(BEFORE)]
        apart = -place_cosine(tokens.embeds, table, table[earlier])  # (frames, places)
        later = [i for i in number.tolist() if i % len(BEFORE)]
        rows = [table[i] >= 0 for i in later]
        sizes = [int(row.sum()) for row in rows]
        chosen = [whole]
        for i, row, few in zip(later, rows, split_budget(count - len(whole), sizes, sizes), strict=True):
            chosen.append(table[i][row][top_indices(apart[i][row], few)])
        return tokens.take(torch.cat(chosen))
