"""DyCoke, its temporal part: of a video, keep every fourth frame, and what differs of the three after it.

"DyCoke: Dynamic Compression of Tokens for Fast Video Large Language Models",
https://arxiv.org/abs/2411.15024. Re-implemented from the rule; its second part, in the cache of the language
model, is not here. The released code keeps the third of the last four frames whole, which is no rule of the
paper: `whole=last_third`. Differs from it: the budget decides how much goes, and their rate of 0.7 is
keep=0.475; a budget below the whole frames keeps an even grid of each of them and nothing else; the last of
an odd number of frames is read (there it is lost); and tokens are read in their order (there those of a frame
by rising similarity). Kept tokens stay where they were, since closing the gaps ruins grounding (`positions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

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

    whole: the "first" of every four frames, or the third of the last four, too, as in the released code.
    """

    PUBLISHED: ClassVar = {**CONTIGUOUS, "whole": "last_third"}
    whole: Literal["first", "last_third"] = "first"

    def select(self, tokens: VisualTokens) -> VisualTokens:
        count, table = self.count(tokens), frame_table(tokens.cell)
        number = torch.arange(len(table), device=table.device)
        is_whole = number % len(BEFORE) == 0
        if self.whole == "last_third":
            is_whole |= (number % len(BEFORE) == 2) & (number + 2 >= len(table))
        whole = table[is_whole]
        whole = whole[whole >= 0]
        if count <= len(whole):
            return Uniform(tokens=count).select(tokens.take(whole))
        earlier = number - number.new_tensor(BEFORE)[number % len(BEFORE)]
        apart = -place_cosine(tokens.embeds, table, table[earlier])  # (frames, places)
        later = (~is_whole).nonzero()[:, 0].tolist()
        rows = [table[i] >= 0 for i in later]
        sizes = [int(row.sum()) for row in rows]
        chosen = [whole]
        for i, row, few in zip(later, rows, split_budget(count - len(whole), sizes, sizes), strict=True):
            chosen.append(table[i][row][top_indices(apart[i][row], few)])
        return tokens.take(torch.cat(chosen))
