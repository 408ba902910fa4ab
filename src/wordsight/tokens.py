"""VisualTokens: what the language model reads of a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor


@dataclass(frozen=True)
class VisualTokens:
    """The projected visual tokens of one prompt, in the order the language model reads them.

    embeds   (N, D) in the language model's embedding space.
    slot     (N,) the placeholder each token fills, counted over the prompt's placeholders: it survives
             pruning and merging, so positions and picture maps come for free.
    cell     (N, 4) image or frame, crop, row, column; row = column = -1 for a line break.
    deep     deepstack features, one (N, D) per language model layer that gets them.
    signals  (N,) or (N, width) each, by name: what a pruner's `needs` asked the vision tower for.
    """

    embeds: Tensor
    slot: Tensor
    cell: Tensor
    deep: tuple[Tensor, ...] = ()
    signals: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.embeds)

    def take(self, index: Tensor) -> VisualTokens:
        """The tokens at `index` (K,), put back into reading order."""
        index = index.sort().values
        return replace(
            self,
            embeds=self.embeds[index],
            slot=self.slot[index],
            cell=self.cell[index],
            deep=tuple(layer[index] for layer in self.deep),
            signals={name: signal[index] for name, signal in self.signals.items()},
        )
