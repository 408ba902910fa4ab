"""FastV: after the first layers, keep the tokens that the end of the prompt attends to most.

"An Image is Worth 1/2 Tokens After Layer 2: Plug-and-Play Inference Acceleration for Large Vision-Language
Models", https://arxiv.org/abs/2403.06764. Re-implemented from the paper. Differs from the released code in
computing one row of attention, not all, and in knowing where the visual tokens are, line breaks and several
pictures among them, where that counts on constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from wordsight._utils.options import Share
from wordsight.algorithms.selection import top_indices
from wordsight.models.layer_state import LayerState
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.layerwise import LayerPruner


@dataclass(kw_only=True)
class FastV(LayerPruner):
    """Keeps the highest attention of the last token of the prompt in the layer before, the mean over heads.

    layer: how many layers read all tokens, in a model of any depth.
    """

    PUBLISHED: ClassVar = {}
    keep: Share = 0.5
    layer: int = 2

    def layers(self, depth: int) -> Sequence[int]:
        return (self.layer,)

    def counts(self, tokens: VisualTokens) -> Sequence[int]:
        return (self.count(tokens),)

    def prune_layer(self, state: LayerState, count: int) -> LayerState:
        return state.take(top_indices(state.attention.last_row()[state.visual], count))
