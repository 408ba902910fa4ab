"""PyramidDrop: keep fewer and fewer tokens, each time those that the end of the prompt attends to most.

"PyramidDrop: Accelerating Your Large Vision-Language Models via Pyramid Visual Redundancy Reduction",
https://arxiv.org/abs/2410.17247. Re-implemented from the paper. Differs from the released code in counts that
any share of tokens can be asked for, in keeping positions, which inside the model have no gaps to close
(there they are renumbered at every stage), and in padding batches on the left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from wordsight._utils.options import Share
from wordsight.algorithms.selection import top_indices
from wordsight.models.layer_state import LayerState
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.layerwise import LayerPruner, check_stages, layers_at


@dataclass(kw_only=True)
class PyramidDrop(LayerPruner):
    """Keeps the highest attention of the last token of the prompt in the first layer of the next stage, the
    same share of tokens at every stage.

    stages: where they end, as shares of the depth, in whole layers. The defaults are layers 8, 16 and 24 of
    32, after which a half, a quarter and an eighth of the tokens are left.
    """

    PUBLISHED: ClassVar = {}
    keep: Share = 0.125
    stages: tuple[float, ...] = (0.25, 0.5, 0.75)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_stages(self.stages)

    def layers(self, depth: int) -> Sequence[int]:
        return layers_at(self.stages, depth)

    def counts(self, tokens: VisualTokens) -> Sequence[int]:
        first, last = len(tokens), self.count(tokens)
        done = [(i + 1) / len(self.stages) for i in range(len(self.stages))]
        return [round(first ** (1 - share) * last**share) for share in done]

    def prune_layer(self, state: LayerState, count: int) -> LayerState:
        return state.take(top_indices(state.next_attention().last_row()[state.visual], count))
