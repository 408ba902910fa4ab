"""Towers: what a vision tower knows of its patches on the way, read by hooks that are removed again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

SIGNALS = frozenset(
    {"cls_attention", "cls_attention_first", "cls_attention_undivided", "features", "keys", "keys_last"}
)
QUERIES = 512  # of a packed tower at a time: attention takes (heads, QUERIES, patches), whatever the picture


@dataclass(frozen=True)
class VisionTower:
    """A vision tower whose attention layers have q_proj and k_proj.

    attentions  those of all layers, in order.
    state       which of its hidden states is projected; None for what it returns last.
    has_cls     whether its first token is [CLS], which is not projected.

    Signals of the layer that is projected: cls_attention (N,), the attention that [CLS] pays to each patch,
    mean over heads; keys (N, heads, width) of the patches; features (N, C), what it returns for each patch,
    and cls_similarity (N,), their cosine with what it returns for [CLS]. cls_attention_first (N,) is of the
    first layer; of the last one are keys_last and cls_attention_undivided (N,), as if it had one head. In a
    tower without [CLS] attention is what a patch gets from all patches, on average (the fallback of
    FasterVLM), and there is no cls_similarity.
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
    def collect_signals(self) -> Iterator[Mapping[str, Tensor]]:
        """While open, a pass of the tower fills the mapping with its signals, a row for each patch."""
        found: dict[str, Tensor] = {}
        # hidden_states[i] is what layer i - 1 returns: index -1 is the last layer, -2 the one before.
        layer = -1 if self.state is None else self.state if self.state < 0 else self.state - 1
        first, projected, last = self.attentions[0], self.attentions[layer], self.attentions[-1]

        def attention(module: Any, arguments: tuple[Tensor, ...], options: dict[str, Any]) -> None:
            states = arguments[0] if arguments else options["hidden_states"]
            signals = self._attention(module, states, options)
            if module is first:
                found["cls_attention_first"] = signals["cls_attention"]
            if module is projected:
                found.update({name: signals[name] for name in ("cls_attention", "keys")})
            if module is last:
                found["cls_attention_undivided"] = signals["cls_attention_undivided"]
                found["keys_last"] = signals["keys"]

        def outputs(module: Any, arguments: Any, output: Any) -> None:
            last = self.state is None
            states = output.last_hidden_state if last else output.hidden_states[self.state]
            found.update(self._features(states.float()))

        with ExitStack() as hooks:
            for module in {first, projected, last}:
                hooks.callback(module.register_forward_pre_hook(attention, with_kwargs=True).remove)
            hooks.callback(self.module.register_forward_hook(outputs).remove)
            yield found

    def _features(self, states: Tensor) -> dict[str, Tensor]:
        """What the states that are projected (images, patches, C) tell of the patches."""
        features = states[:, self.has_cls :].flatten(0, 1)
        if not self.has_cls:
            return {"features": features}
        similarity = torch.cosine_similarity(states[:, 1:], states[:, :1], -1).flatten()
        return {"features": features, "cls_similarity": similarity}

    def _attention(self, module: Any, states: Tensor, options: Mapping[str, Any]) -> dict[str, Tensor]:
        """What a layer's attention tells of the patches (images, patches, width)."""
        query, key = module.q_proj(states), module.k_proj(states)
        if hasattr(module, "q_norm"):
            query, key = module.q_norm(query), module.k_norm(key)
        asking = query[:, :1] if self.has_cls else query
        heads = (module.num_heads, module.head_dim)
        pairs = zip(asking.unflatten(-1, heads), key.unflatten(-1, heads), strict=True)
        by_head = [self._received(torch.einsum("qhw,khw->hqk", *pair) * module.scale) for pair in pairs]
        whole = [self._received(q @ k.T / q.shape[-1] ** 0.5) for q, k in zip(asking, key, strict=True)]
        return {
            "cls_attention": torch.cat([weights.mean(0) for weights in by_head]),
            "cls_attention_undivided": torch.cat(whole),
            "keys": key[:, self.has_cls :].float().unflatten(-1, heads).flatten(0, 1),
        }

    def _received(self, logits: Tensor) -> Tensor:
        """(..., patches) the attention that patches get, of logits (..., queries, keys)."""
        return logits.float().softmax(-1).mean(-2)[..., self.has_cls :]


@dataclass(frozen=True)
class PackedVisionTower(VisionTower):
    """A vision tower that reads the patches of all pictures, of any size, in one row; its attention layers
    have a fused qkv, or q_proj and k_proj, and rotate positions in.

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

    def _attention(self, module: Any, states: Tensor, options: Mapping[str, Any]) -> dict[str, Tensor]:
        """What a layer's attention tells of the patches (patches, width)."""
        states = states.reshape(-1, states.shape[-1])
        if hasattr(module, "qkv"):
            query, key, _ = module.qkv(states).chunk(3, -1)
        else:
            query, key = module.q_proj(states), module.k_proj(states)
        query, key = (part.unflatten(-1, (module.num_heads, -1)) for part in (query, key))
        lengths = sequence_lengths(options)
        placed = (apply_rotary(part, *options["position_embeddings"]) for part in (query, key))
        pairs = list(zip(*(torch.split(part, lengths) for part in placed), strict=True))
        whole = [(q.flatten(1)[:, None], k.flatten(1)[:, None]) for q, k in pairs]  # as if it had one head
        return {
            "cls_attention": torch.cat([received_attention(*pair) for pair in pairs]),
            "cls_attention_undivided": torch.cat([received_attention(*pair) for pair in whole]),
            "keys": key.float(),
        }


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


def mean_pooled(signal: Tensor, factor: int, side: int) -> Tensor:
    """Means of blocks of patches, `factor` wide and high, in squares of `side` patches read row by row."""
    blocks = signal.reshape(-1, side // factor, factor, side // factor, factor, *signal.shape[1:])
    return blocks.mean((2, 4)).flatten(0, 2)
