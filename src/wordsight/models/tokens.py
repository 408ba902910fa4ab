"""VisualTokens: what the language model reads of a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class VisualTokens:
    """The projected visual tokens of one prompt, in the order the language model reads them.

    embeds   (N, D) in the language model's embedding space.
    slot     (N,) the placeholder each token fills, counted over the prompt's placeholders: it survives
             pruning and merging, so positions and picture maps come for free.
    cell     (N, 4) image or frame, crop, row, column. Crop 0 is the whole picture, crop 1 the same enlarged,
             read in tiles that count as one grid. Column -1 is a line break: it ends its row, with row -1
             its picture, with image -1 a whole video.
    box      (N, 4) left, top, right, bottom of what each token shows, as shares of its picture (in padding
             outside [0, 1]); None where it is not known.
    deep     deepstack features, one (N, D) per language model layer that gets them.
    signals  (N,) or (N, width) each, by name: what a pruner's `required_signals` asked the vision tower for.
    listed   whether the model's own encoder returns a list of items, not one tensor.
    marks    (M, D) what the encoder also gives, for the marks around a picture: text that it embeds (Ovis2).
    is_video (N,) which tokens are of videos; None where none is.
    """

    embeds: Tensor
    slot: Tensor
    cell: Tensor
    deep: tuple[Tensor, ...] = ()
    signals: Mapping[str, Tensor] = field(default_factory=dict)
    listed: bool = True
    box: Tensor | None = None
    marks: Tensor | None = None
    is_video: Tensor | None = None

    def __len__(self) -> int:
        return len(self.embeds)

    @property
    def is_break(self) -> Tensor:
        """(N,) which tokens are line breaks, learned vectors that show nothing."""
        return self.cell[:, 3] < 0

    def without_breaks(self) -> VisualTokens:
        """The tokens that show something."""
        return self.take((~self.is_break).nonzero()[:, 0])

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
            box=None if self.box is None else self.box[index],
            is_video=None if self.is_video is None else self.is_video[index],
        )

    def with_breaks(self, breaks: VisualTokens) -> VisualTokens:
        """These tokens and, of the line breaks given, those that end something of which a token is left."""
        ended = breaks.cell[:, None, :3]  # (B, 1, 3)
        stays = ((ended == self.cell[None, :, :3]) | (ended < 0)).all(-1).any(-1)
        return join_tokens(self, breaks.take(stays.nonzero()[:, 0]))


def join_tokens(first: VisualTokens, *others: VisualTokens) -> VisualTokens:
    """Tokens of one prompt that fill different placeholders, in reading order."""
    if not others:
        return first
    parts = (first, *others)
    order = torch.cat([part.slot for part in parts]).argsort(stable=True)

    def joined(rows: Iterable[Tensor]) -> Tensor:
        return torch.cat([*rows])[order]

    def if_known(rows: Iterable[Tensor | None]) -> Tensor | None:
        known = [row for row in rows if row is not None]
        return joined(known) if len(known) == len(parts) else None

    return replace(
        first,
        embeds=joined(part.embeds for part in parts),
        slot=joined(part.slot for part in parts),
        cell=joined(part.cell for part in parts),
        deep=tuple(map(joined, zip(*(part.deep for part in parts), strict=True))),
        signals={name: joined(part.signals[name] for part in parts) for name in first.signals},
        box=if_known(part.box for part in parts),
        is_video=if_known(part.is_video for part in parts),
    )
