"""LLaVA 1.5: one square grid of tokens per image, read row by row; a CLIP tower with [CLS]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from wordsight.families.base import Family, Grid, Seen, square_of

SIGNALS = frozenset(
    {
        "cls_attention",
        "cls_attention_first",
        "cls_attention_undivided",
        "cls_similarity",
        "features",
        "keys",
    }
)


class Llava(Family):
    """model_type "llava" with a vision tower that makes a square grid of every picture.

    Signals, if the tower is a CLIP of which one layer is projected without its [CLS]: `cls_attention` (N,),
    the attention that [CLS] pays to each patch in that layer, mean over heads, `cls_attention_undivided` (N,)
    as if it had one head, `cls_attention_first` (N,) in the first layer; `keys` (N, heads, width), the keys
    of the patches in that layer; `features` (N, C), what it returns for each patch; and `cls_similarity`
    (N,), their cosine with what it returns for [CLS].
    """

    def grids(self, seen: Seen) -> list[Grid]:
        grids = super().grids(seen)
        if not getattr(seen.processor.image_processor, "do_center_crop", False):
            return grids
        regions = [square_of(size, inside=True) for size in seen.sizes]
        return [replace(grid, region=region) for grid, region in zip(grids, regions, strict=True)]

    def signals(self, model: Any) -> frozenset[str]:
        config = model.config
        has_cls = config.vision_config.model_type == "clip_vision_model"
        one_layer = isinstance(config.vision_feature_layer, int)
        if has_cls and one_layer and config.vision_feature_select_strategy == "default":
            return SIGNALS
        return frozenset()

    @contextmanager
    def collecting(self, model: Any, names: frozenset[str]) -> Iterator[Mapping[str, Tensor]]:
        if not names:
            yield {}
            return
        tower, layer = model.model.vision_tower, model.config.vision_feature_layer
        first = tower.encoder.layers[0].self_attn
        # hidden_states[i] is what layer i - 1 returns: index -1 is the last layer, -2 the one before.
        projected = tower.encoder.layers[layer if layer < 0 else layer - 1].self_attn
        found: dict[str, Tensor] = {}

        def attention(module: Any, arguments: tuple[Tensor, ...], options: dict[str, Any]) -> None:
            seen = _attention(module, arguments[0] if arguments else options["hidden_states"])
            if module is first:
                found["cls_attention_first"] = seen["cls_attention"]
            if module is projected:
                found.update(seen)

        def outputs(module: Any, arguments: Any, output: Any) -> None:
            states = output.hidden_states[layer].float()
            found["cls_similarity"] = torch.cosine_similarity(states[:, 1:], states[:, :1], -1).flatten()
            found["features"] = states[:, 1:].flatten(0, 1)

        with ExitStack() as hooks:
            for module in {first, projected}:
                hooks.callback(module.register_forward_pre_hook(attention, with_kwargs=True).remove)
            hooks.callback(tower.register_forward_hook(outputs).remove)
            yield found


def _attention(module: Any, states: Tensor) -> dict[str, Tensor]:
    """What a layer's attention (images, 1 + patches, width) tells of the patches, [CLS] being the first."""
    heads = (module.num_heads, module.head_dim)
    query, key = module.q_proj(states[:, :1]), module.k_proj(states)
    by_head = torch.einsum("iqhw,ikhw->ihk", query.unflatten(-1, heads), key.unflatten(-1, heads))
    whole = (query @ key.mT)[:, 0].float() / query.shape[-1] ** 0.5  # (images, 1 + patches)
    return {
        "cls_attention": (by_head * module.scale).float().softmax(-1)[..., 1:].mean(1).flatten(),
        "cls_attention_undivided": whole.softmax(-1)[:, 1:].flatten(),
        "keys": key[:, 1:].float().unflatten(-1, heads).flatten(0, 1),
    }


FAMILY = Llava()
