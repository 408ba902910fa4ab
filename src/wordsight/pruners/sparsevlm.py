"""SparseVLM: words of the question that fit the picture rate its tokens; of those dropped, some are merged.

"SparseVLM: Visual Token Sparsification for Efficient Vision-Language Model Inference",
https://arxiv.org/abs/2410.04417. Re-implemented from the paper. Differs from the released code in that any
budget can be asked for, not four of them, that merged tokens count in it, and that the layers named are the
first to read fewer tokens, rated by the layer before: so the published averages come out (192 of 576). A
merged token has the place of its cluster's center. It is the method of the paper, without what later versions
of the code correct.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from wordsight._utils.options import Fraction, Share
from wordsight.algorithms.clustering import dpc_centers, nearest_centers
from wordsight.algorithms.selection import top_indices
from wordsight.models.layer_state import LayerState
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.layerwise import LayerPruner, check_stages, layers_at

# Shares of 576 tokens that are left after each of the three steps, merged ones among them, in the released
# schedules for an average of 64, 128 and 192; none and all are their ends.
SCHEDULES = np.array([(0, 0, 0), (82, 32, 18), (312, 117, 39), (309, 204, 113), (576, 576, 576)]) / 576


@dataclass(kw_only=True)
class SparseVLM(LayerPruner):
    """Keeps the highest attention of the raters, the mean over them and over heads.

    keep: what is left after the last step; before it, what the released schedules have, in proportion between
    them. stages: where the steps are, as shares of the depth, in whole layers; the defaults are layers 2, 6
    and 15 of 32. recycle: the share of the dropped tokens that is merged, and one more, n tokens into
    n / 10 + 1.
    """

    PUBLISHED: ClassVar = {}
    keep: Share = 0.196
    stages: tuple[float, float, float] = (0.0625, 0.1875, 0.46875)
    recycle: Fraction = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_stages(self.stages)

    def layers(self, depth: int) -> Sequence[int]:
        return layers_at(self.stages, depth)

    def counts(self, tokens: VisualTokens) -> Sequence[int]:
        last = self.count(tokens)
        share = last / max(1, len(tokens))
        shares = [float(np.interp(share, SCHEDULES[:, 2], SCHEDULES[:, step])) for step in range(3)]
        return [max(last, round(each * len(tokens))) for each in shares]

    def prune_layer(self, state: LayerState, count: int) -> LayerState:
        scores = state.attention.rows(raters(state)).mean((0, 1))[state.visual]
        order = top_indices(scores, len(scores))
        whole = self._kept_whole(len(order), count)
        merged = count - whole
        if not merged:
            return state.take(order[:count])
        kept, rest = order[:whole], order[whole:][: self._recycled(len(order) - whole)]
        points = state.hidden[state.visual[rest]].float()  # (R, D)
        centers = dpc_centers(points, merged, neighbors=merged, scale="sqrt_dim")
        clusters = nearest_centers(points, centers)
        means = torch.stack([points[clusters == i].mean(0) for i in range(merged)])  # (M, D)
        places = state.visual[rest[centers]]
        hidden = state.hidden.index_copy(0, places, means.to(state.hidden.dtype))
        return replace(state, hidden=hidden).take(torch.cat([kept, rest[centers]]))

    def _recycled(self, dropped: int) -> int:
        return int(self.recycle * dropped) + 1

    def _kept_whole(self, total: int, count: int) -> int:
        """How many of the `count` tokens that are left are no merged ones, at least one."""
        if not self.recycle:
            return count
        return next(
            whole
            for whole in range(count, 0, -1)
            if whole == 1 or whole + self._recycled(total - whole) // 10 + 1 <= count
        )


def raters(state: LayerState) -> Tensor:
    """(R,) the places of the raters: text tokens after the picture that fit it more than they do on average.

    How well they fit: the softmax over the text of the products of embeddings, the mean over visual tokens.
    """
    picture, text = state.embeds[state.visual_at_start], state.embeds[int(state.visual_at_start[-1]) + 1 :]
    share = (picture.float() @ text.float().T).softmax(-1).mean(0)  # (T,)
    # Rounding must not lift the mean of equal shares above them all.
    chosen = share >= share.mean().clamp(max=share.max())
    return chosen.nonzero()[:, 0] + len(state.hidden) - len(text)
