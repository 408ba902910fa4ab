"""HiRED: share the budget among the crops of a picture by where [CLS] looks first, and keep what it attends
to.

"HiRED: Attention-Guided Token Dropping for Efficient Inference of High-Resolution Vision-Language Models",
https://arxiv.org/abs/2408.10945. Re-implemented from the rule. Differs from the released code: an enlarged
picture is divided into equal parts, as many as it has crops (there its padding counts too); what a part
cannot use goes to the others; and the attention that chooses is that of the layer that is projected.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wordsight._utils.options import Fraction
from wordsight.algorithms.selection import split_budget, top_indices
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import Pruner


@dataclass(kw_only=True)
class HiRED(Pruner):
    """alpha: the share of a picture's budget that the whole picture gets, in [0, 1]. Its enlarged parts get
    the rest, in proportion to how many of the half of the whole picture's tokens that [CLS] attends to most
    in the first layer lie in them.
    """

    required_signals: ClassVar[frozenset[str]] = frozenset({"cls_attention", "cls_attention_first"})
    alpha: Fraction = 0.5

    def select(self, tokens: VisualTokens) -> VisualTokens:
        images = torch.unique_consecutive(tokens.cell[:, 0])
        found = [part for image in images for part in self._parts(tokens, image)]
        parts, weights = [part for part, _ in found], [weight for _, weight in found]
        counts = split_budget(self.budget(tokens), weights, [len(part) for part in parts])
        attention = tokens.signals["cls_attention"].float()
        pairs = zip(parts, counts, strict=True)
        return tokens.take(torch.cat([part[top_indices(attention[part], count)] for part, count in pairs]))

    def _parts(self, tokens: VisualTokens, image: Tensor) -> Iterator[tuple[Tensor, float]]:
        """The tokens of a whole picture and of every part of it enlarged, with their shares of the budget."""
        here = tokens.cell[:, 0] == image
        whole, large = ((here & (tokens.cell[:, 1] == crop)).nonzero()[:, 0] for crop in (0, 1))
        share = float(here.sum())
        if not len(large) or not len(whole):
            yield here.nonzero()[:, 0], share
            return
        yield whole, share * self.alpha
        first = tokens.signals["cls_attention_first"].float()[whole]
        attended = whole[top_indices(first, len(whole) // 2)]
        place = tokens.cell[:, 2:]
        small, great = place[whole].amax(0) + 1, place[large].amax(0) + 1  # rows, columns
        tiles = (great + small - 1) // small  # how many down and across
        at = (place[attended] * tiles // small) @ torch.stack([tiles[1], torch.ones_like(tiles[1])])
        tile = (place[large] * tiles // great) @ torch.stack([tiles[1], torch.ones_like(tiles[1])])
        for number in torch.unique(tile):
            rest = share * (1 - self.alpha)
            yield large[tile == number], rest * float((at == number).sum()) / max(1, len(attended))
