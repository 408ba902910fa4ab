"""Towers: what a vision tower knows of its patches on the way, read by hooks that are removed again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# What is measured of the layer that is projected, and of the last one.
PROJECTED = {"cls_attention": "cls_attention", "keys": "keys"}
LAST = {"cls_attention_undivided": "cls_attention_undivided", "keys_last": "keys"}
BY_LAYER = frozenset(
    {
        "cls_attention_by_layer",
        "received_attention_by_layer",
        "value_norm_by_layer",
        "value_similarity_by_layer",
    }
)
SIGNALS = frozenset({*PROJECTED, *LAST, "cls_attention_first", "features"}) | BY_LAYER
QUERIES = 512  # at a time: attention takes (heads, QUERIES, patches), whatever the picture

Heads = tuple[Tensor, Tensor, Tensor]  # queries, keys and values, (patches, heads, width) each


@dataclass(frozen=True)
class VisionTower:
    """A vision tower whose attention layers have q_proj, k_proj and v_proj.

    attentions  those of all layers, in order.
    state       which of its hidden states is projected; None for what it returns last.
    has_cls     whether its first token is [CLS], which is not projected.

    Signals of the layer that is projected: cls_attention (N,), the attention that [CLS] pays to each patch,
    mean over heads; keys (N, heads, width) of the patches; features (N, C), what it returns for each patch,
    and cls_similarity (N,), their cosine with what it returns for [CLS]. cls_attention_first (N,) is of the
    first layer; of the last one are keys_last and cls_attention_undivided (N,), as if it had one head. In a
    tower without [CLS] attention is what a patch gets from all patches, on average (the fallback of
    FasterVLM), and there is no cls_similarity.

    Signals of all layers up to the one that is projected, (N, layers): cls_attention_by_layer;
    received_attention_by_layer, what a patch gets from all tokens, [CLS] too; value_norm_by_layer, the sum of
    the absolute values of a patch's value, mean over heads; and value_similarity_by_layer, the softmax over
    tokens of the product of their value with that of [CLS] (of the mean of all without it), mean over heads.
    """

    module: nn.Module
    attentions: Sequence[nn.Module]
    state: int | None
    has_cls: bool

    @property
    def signals(self) -> frozenset[str]:
        """What can be read of it."""
        return SIGNALS | {"cls_similarity"} if self.has_cls else SIGNALS

    @contextmanager
    def collect_signals(self, names: frozenset[str]) -> Iterator[Mapping[str, Tensor]]:
        """While open, a pass of the tower fills the mapping with the signals named, a row for each patch."""
        found: dict[str, Tensor] = {}
        columns: dict[str, list[Tensor]] = {name: [] for name in names & BY_LAYER}
        plan = self._plan(names)

        def attention(module: Any, arguments: tuple[Tensor, ...], options: dict[str, Any]) -> None:
            states = arguments[0] if arguments else options["hidden_states"]
            query, key, value = self._heads(module, states)
            sequences = self._sequences((query, key, value), options)
            for name, measure in plan[module].items():
                if measure == "keys":
                    found[name] = key[..., self.has_cls :, :, :].float().flatten(0, -3)
                    continue
                rows = torch.cat([MEASURES[measure](one, self.has_cls) for one in sequences])
                if name in columns:
                    columns[name].append(rows)
                else:
                    found[name] = rows

        def outputs(module: Any, arguments: Any, output: Any) -> None:
            last = self.state is None
            states = output.last_hidden_state if last else output.hidden_states[self.state]
            found.update(self._features(states.float()))
            found.update({name: torch.stack(layers, -1) for name, layers in columns.items()})

        with ExitStack() as hooks:
            for module in plan:
                hooks.callback(module.register_forward_pre_hook(attention, with_kwargs=True).remove)
            hooks.callback(self.module.register_forward_hook(outputs).remove)
            yield found

    def _plan(self, names: frozenset[str]) -> dict[nn.Module, dict[str, str]]:
        """What is measured of each attention layer: the measure of every signal."""
        # hidden_states[i] is what layer i - 1 returns: index -1 is the last layer, -2 the one before.
        layer = -1 if self.state is None else self.state if self.state < 0 else self.state - 1
        layers = self.attentions[: layer % len(self.attentions) + 1]
        plan: dict[nn.Module, dict[str, str]] = defaultdict(dict)
        if "cls_attention_first" in names:
            plan[layers[0]]["cls_attention_first"] = "cls_attention"
        for module in layers if names & BY_LAYER else ():
            plan[module].update({name: name.removesuffix("_by_layer") for name in names & BY_LAYER})
        for module, signals in ((layers[-1], PROJECTED), (self.attentions[-1], LAST)):
            if asked := {name: measure for name, measure in signals.items() if name in names}:
                plan[module].update(asked)
        return plan

    def _features(self, states: Tensor) -> dict[str, Tensor]:
        """What the states that are projected (images, patches, C) tell of the patches."""
        features = states[:, self.has_cls :].flatten(0, 1)
        if not self.has_cls:
            return {"features": features}
        similarity = torch.cosine_similarity(states[:, 1:], states[:, :1], -1).flatten()
        return {"features": features, "cls_similarity": similarity}

    def _heads(self, module: Any, states: Tensor) -> Heads:
        """Queries, keys and values (..., patches, heads, width) of a layer."""
        query, key, value = module.q_proj(states), module.k_proj(states), module.v_proj(states)
        if hasattr(module, "q_norm"):
            query, key = module.q_norm(query), module.k_norm(key)
        return _divided(module, query, key, value)

    def _sequences(self, heads: Heads, options: Mapping[str, Any]) -> list[Heads]:
        """Those of the patches that attend to each other, picture by picture, as they attend."""
        return list(zip(*heads, strict=True))


@dataclass(frozen=True)
class PackedVisionTower(VisionTower):
    """A vision tower that reads the patches of all pictures, of any size, in one row; its attention layers
    have a fused qkv, or q_proj, k_proj and v_proj, and rotate positions in.

    A patch attends to the patches of its own sequence: those of a picture, of a frame, or of a window of one,
    as the layer's `cu_seqlens` or its mask says. Attention is of queries and keys with positions, as the
    tower computes it, and what a patch gets is the mean over the patches of its sequence: in a sequence of n
    patches 1 / n on average, more in a small picture (or window) than in a large one. keys are those that the
    layer's qkv or k_proj gives, before positions are rotated in. Rows are in the order in which the tower
    reads patches.
    """

    state: int | None = None
    has_cls: bool = False

    def _features(self, states: Tensor) -> dict[str, Tensor]:
        return {"features": states.reshape(-1, states.shape[-1])}  # (patches, C)

    def _heads(self, module: Any, states: Tensor) -> Heads:
        states = states.reshape(-1, states.shape[-1])
        if not hasattr(module, "qkv"):
            return super()._heads(module, states)
        return _divided(module, *module.qkv(states).chunk(3, -1))

    def _sequences(self, heads: Heads, options: Mapping[str, Any]) -> list[Heads]:
        query, key, value = heads
        lengths = sequence_lengths(options)
        placed = *(apply_rotary(part, *options["position_embeddings"]) for part in (query, key)), value
        return list(zip(*(torch.split(part, lengths) for part in placed), strict=True))


def _divided(module: Any, *parts: Any) -> Heads:
    """Queries, keys and values (..., width) as (..., heads, width of one)."""
    query, key, value = (part.unflatten(-1, (module.num_heads, -1)) for part in parts)
    return query, key, value


def sequence_lengths(options: Mapping[str, Any]) -> list[int]:
    """How many patches each sequence has, one after another, of what an attention layer is given."""
    for name in ("cu_seqlens", "cu_seq_lens_q"):
        if name in options:
            return options[name].diff().tolist()  # type: ignore[no-any-return]  # of a Tensor
    first = (options["attention_mask"][0, 0] == 0).int().argmax(-1)  # (patches,) the first of its sequence
    return first.unique_consecutive(return_counts=True)[1].tolist()  # type: ignore[no-any-return]


def apply_rotary(part: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys (patches, heads, width) with their positions, cos and sin (patches, width)."""
    first, second = part.float().chunk(2, -1)
    turned = torch.cat([-second, first], -1)
    return (part * cos[:, None].float() + turned * sin[:, None].float()).to(part.dtype)


def received_attention(query: Tensor, key: Tensor) -> Tensor:
    """(patches,) the attention that patches get from all, mean over heads; (patches, heads, width) each."""
    total = torch.zeros(len(key), device=key.device)
    for asking in torch.split(query, QUERIES):
        logits = torch.einsum("qhw,khw->hqk", asking, key) / key.shape[-1] ** 0.5
        total += logits.float().softmax(-1).sum((0, 1))
    return total / (query.shape[0] * query.shape[1])


def _cls_attention(heads: Heads, has_cls: bool) -> Tensor:
    query, key, _ = heads
    return received_attention(query[:1] if has_cls else query, key)[has_cls:]


def _cls_attention_undivided(heads: Heads, has_cls: bool) -> Tensor:
    query, key, value = (part.flatten(1)[:, None] for part in heads)
    return _cls_attention((query, key, value), has_cls)


def _received_attention(heads: Heads, has_cls: bool) -> Tensor:
    return received_attention(heads[0], heads[1])[has_cls:]


def _value_norm(heads: Heads, has_cls: bool) -> Tensor:
    return heads[2].float().mean(1).abs().sum(-1)[has_cls:]


def _value_similarity(heads: Heads, has_cls: bool) -> Tensor:
    value = heads[2].float()
    center = value[0] if has_cls else value.mean(0)  # (heads, width)
    return torch.einsum("hw,khw->hk", center, value).softmax(-1).mean(0)[has_cls:]


MEASURES: Mapping[str, Callable[[Heads, bool], Tensor]] = {
    "cls_attention": _cls_attention,
    "cls_attention_undivided": _cls_attention_undivided,
    "received_attention": _received_attention,
    "value_norm": _value_norm,
    "value_similarity": _value_similarity,
}


def mean_pooled(signal: Tensor, factor: int, side: int) -> Tensor:
    """Means of blocks of patches, `factor` wide and high, in squares of `side` patches read row by row."""
    blocks = signal.reshape(-1, side // factor, factor, side // factor, factor, *signal.shape[1:])
    return blocks.mean((2, 4)).flatten(0, 2)
