"""LLaVA 1.5: one square grid of tokens per image, read row by row; a CLIP tower with [CLS]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from wordsight.families.base import Family, Grid, Seen, square_of


class Llava(Family):
    """model_type "llava" with a vision tower that makes a square grid of every picture.

    Signals, if the tower is a CLIP of which one layer is projected without its [CLS]: `cls_attention` (N,),
    the attention that [CLS] pays to each patch in that layer, mean over heads; `features` (N, C), what that
    layer returns for each patch; and `cls_similarity` (N,), their cosine with what it returns for [CLS].
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
            return frozenset({"cls_attention", "cls_similarity", "features"})
        return frozenset()

    @contextmanager
    def collecting(self, model: Any, names: frozenset[str]) -> Iterator[Mapping[str, Tensor]]:
        tower, layer = model.model.vision_tower, model.config.vision_feature_layer
        found: dict[str, Tensor] = {}

        def attention(module: Any, arguments: tuple[Tensor, ...], options: dict[str, Any]) -> None:
            states = arguments[0] if arguments else options["hidden_states"]  # (images, 1 + patches, width)
            heads = (module.num_heads, module.head_dim)
            query = (
                module.q_proj(states[:, :1]).unflatten(-1, heads).transpose(1, 2)
            )  # (images, heads, 1, width)
            key = module.k_proj(states).unflatten(-1, heads).transpose(1, 2)
            weights = (query @ key.mT * module.scale).float().softmax(-1)  # (images, heads, 1, 1 + patches)
            found["cls_attention"] = weights[:, :, 0, 1:].mean(1).flatten()

        def outputs(module: Any, arguments: Any, output: Any) -> None:
            states = output.hidden_states[layer].float()
            if "cls_similarity" in names:
                found["cls_similarity"] = torch.cosine_similarity(states[:, 1:], states[:, :1], -1).flatten()
            if "features" in names:
                found["features"] = states[:, 1:].flatten(0, 1)

        with ExitStack() as hooks:
            if "cls_attention" in names:
                # hidden_states[i] is what layer i - 1 returns: index -1 is the last layer, -2 the one before.
                attend = tower.encoder.layers[layer if layer < 0 else layer - 1].self_attn
                hooks.callback(attend.register_forward_pre_hook(attention, with_kwargs=True).remove)
            if names & {"cls_similarity", "features"}:
                hooks.callback(tower.register_forward_hook(outputs).remove)
            yield found


FAMILY = Llava()
