"""Look: what the vision tower makes of the pictures of a prompt, and the signals asked of it on the way."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from wordsight.errors import UsageError
from wordsight.media.inputs import Shown
from wordsight.models.families.base import Seen
from wordsight.models.tokens import VisualTokens

if TYPE_CHECKING:
    from wordsight.models.vlm import VLM


def look(vlm: VLM, inputs: Any, shown: Shown, modality: str, collect: frozenset[str]) -> VisualTokens:
    """The visual tokens of what the processor made of the pictures, with the tower's signals named."""
    model, family = vlm.model, vlm.family
    features_of = getattr(model.model, f"get_{modality}_features")
    vision = {
        name: inputs[name].to(model.dtype) if inputs[name].is_floating_point() else inputs[name]
        for name in inspect.signature(features_of).parameters
        if name in inputs
    }
    signals: Mapping[str, Tensor] = {}
    with ExitStack() as hooks:
        if collect and (tower := family.tower(model)):
            signals = hooks.enter_context(tower.collecting())
        output = features_of(**vision, return_dict=True)
    features = _items(output.pooler_output)
    embeds = torch.cat(features)  # (N, D)
    ids = inputs["input_ids"][0]
    check_count(int((ids == getattr(model.config, f"{modality}_token_id")).sum()), len(embeds))
    sizes = [frame.size for frame in shown.frames]
    seen = Seen(model.config, vlm.processor, inputs, features, sizes, bool(shown.videos))
    grids = family.grids(seen)
    cells = [cell for grid in grids for cell in grid.cells()]
    boxes = [box for grid in grids for box in grid.boxes()]
    if len(cells) != len(embeds):
        raise UsageError(
            f"{vlm.name}: the picture map has {len(cells)} tokens, the model made {len(embeds)}; "
            "is the processor the one of this model?"
        )
    return VisualTokens(
        embeds,
        torch.arange(len(embeds), device=embeds.device),
        torch.tensor(cells, device=embeds.device).reshape(-1, 4),
        tuple(torch.cat(_items(layer)) for layer in getattr(output, "deepstack_features", None) or ()),
        {name: family.arranged(model, seen, signals[name]) for name in sorted(collect)},
        not isinstance(output.pooler_output, Tensor),
        torch.tensor(boxes, device=embeds.device).reshape(-1, 4) if family.mapped else None,
    )


def check_count(placeholders: int, tokens: int) -> None:
    """Raises UsageError if the prompt has not as many placeholders as there are visual tokens."""
    if placeholders != tokens:
        raise UsageError(
            f"the prompt has {placeholders} image placeholders for {tokens} visual tokens; is the processor "
            "the one of this model?"
        )


def _items(output: Any) -> list[Tensor]:
    """(N_i, D) features of every item, of the containers that the families return: lists and tensors."""
    if isinstance(output, Tensor) and output.ndim == 2:
        return [output]
    return [item.reshape(-1, item.shape[-1]) for item in output]
