"""HiRED: share the budget among the crops of a picture by where [CLS] looks first, and keep what it attends
to.

"HiRED: Attention-Guided Token Dropping for Efficient Inference of High-Resolution Vision-Language Models",
https://arxiv.org/abs/2408.10945. Re-implemented from the rule. The released code counts what [CLS] looks at
in horizontal stripes of the whole picture, not in the parts that the crops show, which is no rule of the
paper: `votes=stripes`. Differs from it in dividing an enlarged picture into equal parts, as many as it has
crops (there its padding counts, too), and by default in giving what a part cannot use to the others. Kept
tokens stay where they were, since closing the gaps ruins grounding (`positions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from wordsight._utils.options import Fraction, Rounding
from wordsight.algorithms.selection import split_budget, top_indices
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, Pruner
from wordsight.pruners.scopes import BudgetScope, tile_counts, tile_of


@dataclass(kw_only=True)
class HiRED(Pruner):
    """alpha: the share of a picture's budget that the whole picture gets, in [0, 1]. Its enlarged parts get
    the rest, in proportion to how many lie in them of the whole picture's tokens, of the share 1 - alpha that
    [CLS] attends to most in the first layer.

    votes: lie in the "tiles" that the parts show, or in the "stripes" of the released code, as many as there
    are parts. rounding: "released" rounds every share down, and what a part cannot use is lost.
    """

    PUBLISHED: ClassVar = {**CONTIGUOUS, "votes": "stripes", "rounding": "released"}
    required_signals: ClassVar[frozenset[str]] = frozenset({"cls_attention", "cls_attention_first"})
    budget: BudgetScope = "image"
    alpha: Fraction = 0.5
    votes: Literal["tiles", "stripes"] = "tiles"
    rounding: Rounding = "exact"

    def count(self, tokens: VisualTokens) -> int:
        if self.rounding == "exact" or self.tokens:
            return super().count(tokens)
        return max(1, int(self.keep * len(tokens)))

    def select(self, tokens: VisualTokens) -> VisualTokens:
        image = torch.unique_consecutive(tokens.cell[:, 0], return_inverse=True)[1]
        sizes = image.bincount().tolist()
        counts = split_budget(self.count(tokens), sizes, sizes)
        pictures = [(image == number).nonzero()[:, 0] for number in range(len(sizes))]
        return tokens.take(
            torch.cat([self._best(tokens, *pair) for pair in zip(pictures, counts, strict=True)])
        )

    def _best(self, tokens: VisualTokens, picture: Tensor, count: int) -> Tensor:
        """(count,) indices of those that are kept of a picture, fewer where shares are rounded down."""
        attention = tokens.signals["cls_attention"].float()
        whole, large = (picture[tokens.cell[picture, 1] == crop] for crop in (0, 1))
        if not len(large) or not len(whole):
            return picture[top_indices(attention[picture], count)]
        tiles = tile_counts(tokens.cell[whole], tokens.cell[large])
        tile = tile_of(tokens.cell[large], tiles)
        parts = [whole, *(large[tile == number] for number in range(int(tiles.prod())))]
        counts = self._counts(count, self._votes(tokens, whole, tiles), [len(part) for part in parts])
        pairs = zip(parts, counts, strict=True)
        return torch.cat([part[top_indices(attention[part], share)] for part, share in pairs])

    def _votes(self, tokens: VisualTokens, whole: Tensor, tiles: Tensor) -> Tensor:
        """(tiles,) the share of what [CLS] looks at first in the whole picture that counts for each tile."""
        first = tokens.signals["cls_attention_first"].float()[whole]
        looked_at = top_indices(first, int(len(whole) * (1 - self.alpha)))
        if self.votes == "stripes":
            found = looked_at * tiles.prod() // len(whole)
        else:
            found = tile_of(tokens.cell[whole], tiles)[looked_at]
        return found.bincount(minlength=int(tiles.prod())) / max(1, len(looked_at))

    def _counts(self, count: int, votes: Tensor, sizes: list[int]) -> list[int]:
        """How many tokens the whole picture and each tile keep."""
        if self.rounding == "exact":
            return split_budget(count, [self.alpha, *((1 - self.alpha) * votes).tolist()], sizes)
        whole = min(max(1, int(count * self.alpha)), sizes[0])
        rest = min(count - whole, sum(sizes[1:]))
        shares = zip((votes * rest).int().tolist(), sizes[1:], strict=True)
        return [whole, *(min(share, size) for share, size in shares)]
