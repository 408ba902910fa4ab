"""Cascade: prompts are read after one beginning, whose keys and values are kept once and never copied.

"Hydragen: High-Throughput LLM Inference with Shared Prefixes", https://arxiv.org/abs/2402.05099: a token
attends apart to its own prompt and to what all of them begin with, and the two are merged by what they weigh.
The model's own code runs all the same: its layers are given another function of attention for one pass.
It is for `VLM.logits`, one pass of many prompts; answers, to which every step of `generate` adds keys and
values, are read after a prefix cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wordsight.models.layer_hooks import decoder, has_attention, replaced_attention
from wordsight.models.prompt import Prompt


@dataclass(frozen=True)
class Beginning:
    """What was read of one prompt, all of it or its first tokens, for others to be read after it; a
    `BatchBeginning` has a row for each of the prompts.

    cache    the keys and values (1, heads, L, width) of every layer.
    logits   (1, V) float32 of the token after them.
    """

    prompt: Prompt
    cache: Any
    logits: Tensor

    @property
    def bytes(self) -> int:
        """What the cache takes."""
        return sum(one.keys.nbytes + one.values.nbytes for one in self.cache.layers if one.keys is not None)


def can_cascade(model: Any, cache: Any, longest: int) -> bool:
    """Whether prompts of up to so many tokens, the one in this cache among them, can be read after its
    beginning: every layer attends by a function of transformers, to keys and values of its own, and through
    no shorter window.
    """
    layers = getattr(decoder(model), "layers", ())
    return (
        model.config.get_text_config()._attn_implementation == "sdpa"
        and all(has_attention(layer) for layer in layers)
        and len(layers) == len(cache.layers)
        and all(kept.keys is not None for kept in cache.layers)
        and all((getattr(kept, "sliding_window", None) or longest) >= longest for kept in cache.layers)
    )


@contextmanager
def reading_after(model: Any, cache: Any, length: int) -> Iterator[None]:
    """While open, the model reads rows of one length, each as if the first `length` tokens of the cache came
    before it.
    """
    with ExitStack() as stack:
        for layer, kept in zip(decoder(model).layers, cache.layers, strict=True):
            attention = _attention_after(kept.keys[:, :, :length], kept.values[:, :, :length])
            stack.enter_context(replaced_attention(layer.self_attn, attention))
        yield


def _attention_after(keys: Tensor, values: Tensor) -> Callable[..., tuple[Tensor, None]]:
    """Attention of every row to itself and to these keys and values, (1, groups, P, width)."""

    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any
    ) -> tuple[Tensor, None]:
        rows, heads, length, width = query.shape
        groups, scale = key.shape[1], options["scaling"]
        # To what comes before, all rows, and all heads that share its keys, are queries of one row.
        asked = query.view(rows, groups, -1, length, width).permute(1, 2, 0, 3, 4)
        read, weight = attend(asked.reshape(1, groups, -1, width), keys, values, scale=scale)
        read = read.view_as(asked).permute(2, 0, 1, 3, 4).reshape(query.shape)
        weight = weight.view(asked.shape[:-1]).permute(2, 0, 1, 3).reshape(query.shape[:-1])
        key, value = (part.repeat_interleave(heads // groups, 1) for part in (key, value))
        own, own_weight = attend(query, key, value, scale=scale, is_causal=True)
        share = (own_weight - weight).sigmoid().to(own.dtype)[..., None]
        return read.lerp(own, share).transpose(1, 2).contiguous(), None

    return attention


@contextmanager
def reading_again(model: Any, cache: Any, columns: Tensor) -> Iterator[None]:
    """While open, the model reads rows of the tokens at `columns` (B, K), ascending, of what is in the cache:
    the keys and values of all others stay as they are.
    """
    is_before = torch.arange(cache.get_seq_length(), device=columns.device) <= columns[:, None, :, None]
    with ExitStack() as stack:
        for layer, kept in zip(decoder(model).layers, cache.layers, strict=True):
            attention = _attention_again(kept, columns[:, None, :, None], is_before)
            stack.enter_context(replaced_attention(layer.self_attn, attention))
        yield


def _attention_again(kept: Any, columns: Tensor, is_before: Tensor) -> Callable[..., tuple[Tensor, None]]:
    """Attention to what is kept, with the rows' own keys and values in its columns."""

    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any
    ) -> tuple[Tensor, None]:
        key, value = (
            old.expand(len(new), -1, -1, -1).scatter(2, columns.expand_as(new), new)
            for old, new in ((kept.keys, key), (kept.values, value))
        )
        read = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_before, scale=options["scaling"], enable_gqa=True
        )
        return read.transpose(1, 2).contiguous(), None

    return attention


def attend(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float, is_causal: bool = False
) -> tuple[Tensor, Tensor]:
    """(B, heads, S, width) what queries read, and (B, heads, S) float32 the logarithm of what it weighs: of
    the sum of their exponentials.
    """
    fused = torch.ops.aten
    if query.device.type == "cpu":
        read, weight = fused._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, is_causal, scale=scale
        )
        return read, weight
    if query.device.type == "cuda":
        read, weight, *_ = fused._scaled_dot_product_efficient_attention(
            query, key, value, None, True, 0.0, is_causal, scale=scale
        )
        return read, weight[..., : query.shape[2]]  # it is padded to a multiple of 32
    return _attend_plainly(query, key, value, scale=scale, is_causal=is_causal)


def _attend_plainly(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float, is_causal: bool = False
) -> tuple[Tensor, Tensor]:
    scores = scale * query.float() @ key.float().mT  # (B, heads, S, K)
    if is_causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    return (scores.softmax(-1) @ value.float()).to(query.dtype), scores.logsumexp(-1)


@contextmanager
def last_token_only(model: Any) -> Iterator[None]:
    """While open, the last layer adds only to the last token of a row what it adds; the others are not read.

    What it adds, with one token to a row, is broadcast: the states of the other tokens are no longer theirs.
    """
    layer = decoder(model).layers[-1]
    adding = (getattr(getattr(layer, "self_attn", None), "o_proj", None), getattr(layer, "mlp", None))
    with ExitStack() as stack:
        for module in filter(None, adding):
            hook = module.register_forward_pre_hook(lambda _, given: (given[0][:, -1:], *given[1:]))
            stack.callback(hook.remove)
        yield
