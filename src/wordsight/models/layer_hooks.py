"""Visual tokens leave between two layers of the language model, by hooks that stay for one run.

The first layers read the whole prompt, or, where they have read what several prompts begin with before
(`read_beginning`), the rest of it. Before a layer that its method names, what belongs to the tokens dropped
goes: hidden states, rotary embeddings, rows and columns of the mask. The caches of the layers after are
shorter, and in every step of the answer each of them gets the columns of the mask that its cache has.

All attention is computed by what the model was loaded with, SDPA or FlashAttention; of one layer per cut the
queries and keys are kept, from which a method computes the few rows that it needs. Of the layer after the cut
no more than queries and keys are computed, if the method asks for them.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from threading import Lock, RLock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from wordsight.errors import ModelError
from wordsight.models.families.base import inner_model
from wordsight.models.layer_state import Attention, LayerState
from wordsight.models.prompt import Prompt

_guard = Lock()
_locks: WeakKeyDictionary[Any, AbstractContextManager[Any]] = WeakKeyDictionary()


@dataclass(frozen=True)
class BatchBeginning:
    """What a batch of prompts begins with, a row for each, read before the rest of it.

    cache   its keys and values; of the layers before the first cut alone, where tokens are dropped.
    mask    (B, L) which columns of the whole batch are tokens, those of the beginning (P) coming first.

    Empty where none are:

    embeds  (B, P, D) what the first layer reads; hidden (B, P, D) what the layer at the first cut would.
    query   (B, H, P, width) of the layer before that; rotary (..., B, P, width) its embeddings of places.
    """

    cache: Any
    mask: Tensor
    embeds: Tensor
    hidden: Tensor
    query: Tensor
    rotary: Sequence[Tensor]


class _AtTheCut(Exception):
    """Raised where a cut is, as the layers after it are not to read what comes before."""


def read_beginning(
    model: Any, first: Mapping[str, Any], prompts: Sequence[Prompt], group: Tensor, mask: Tensor
) -> BatchBeginning | None:
    """What these prompts begin with: row `group` (B,) of the inputs `first`; `mask` as in BatchBeginning.

    None where tokens are dropped between layers that take more than states and rotary embeddings.
    """
    depth = len(decoder_layers(model)) if any(prompt.layerwise for prompt in prompts) else 0
    cut = min((cut for plan in _plans(prompts, depth) for cut in plan), default=0)
    given = {**first, "use_cache": True, "logits_to_keep": 1}
    if not cut:
        cache = model(**given)[cache_name(model)]
        cache.batch_select_indices(group)
        none = mask[:0]
        return BatchBeginning(cache, mask, none, none, none, ())
    layers, cache = decoder_layers(model), DynamicCache()
    found: dict[int, tuple[Any, ...]] = {}

    def before(number: int, layer: Any, args: Any, named: dict[str, Any]) -> None:
        found[number] = (*args, named.get("position_embeddings"))
        if number == cut:
            raise _AtTheCut

    with ExitStack() as stack:
        for number in (0, cut):
            hook = layers[number].register_forward_pre_hook(partial(before, number), with_kwargs=True)
            stack.callback(hook.remove)
        captured = stack.enter_context(capture_attention(layers[cut - 1].self_attn))
        stack.enter_context(suppress(_AtTheCut))
        model(**given, **{cache_name(model): cache})
    hidden, *more, rotary = found[cut]
    if rotary is None or not captured or any(one is not None for one in more):
        return None
    cache.batch_select_indices(group)
    places = tuple(part if part.shape[-3] == 1 else part[..., group, :, :] for part in _parts(rotary))
    return BatchBeginning(cache, mask, found[0][0][group], hidden[group], captured["query"][group], places)


@contextmanager
def pruning_hooks(
    model: Any, prompts: Sequence[Prompt], beginning: BatchBeginning | None = None
) -> Iterator[dict[str, Any]]:
    """While open, one run of the model on these prompts, collated in this order, drops what their layerwise
    methods say; or one on what comes after their beginning. The mapping is what the run has to be given.
    While tokens are dropped, no other thread uses the model.
    """
    if not any(prompt.layerwise for prompt in prompts):
        yield {cache_name(model): beginning.cache} if beginning else {}
        return
    layers = decoder_layers(model)
    run = _Run(prompts, layers, partial(final_norm, model), beginning)
    with ExitStack() as stack:
        stack.enter_context(exclusive(model))
        for number, layer in enumerate(layers):
            hook = layer.register_forward_pre_hook(partial(run.before, number), with_kwargs=True)
            stack.callback(hook.remove)
        for number in run.cuts:
            run.captured[number] = stack.enter_context(capture_attention(layers[number - 1].self_attn))
        # A cache that knows of no windows keeps all columns that the first layer's mask, and so ours, has.
        yield {cache_name(model): beginning.cache if beginning else DynamicCache()}


def cache_name(model: Any) -> str:
    """What this version of transformers calls the key-value cache: it was renamed in 5.24."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def is_flash(config: Any) -> bool:
    """Whether a language model of this config attends by FlashAttention, of any version."""
    return "flash" in (config._attn_implementation or "")


class _Captured(Exception):
    """Ends a layer once its attention is captured."""


def exclusive(model: Any) -> AbstractContextManager[Any]:
    """While open, no other thread uses this model, whose layers may be changed for a run."""
    with _guard:
        lock: AbstractContextManager[Any] = _locks.setdefault(model, RLock())
    return lock


@contextmanager
def replaced_attention(attention: Any, attend: Callable[..., Any]) -> Iterator[None]:
    """While open, this attention is computed by a function like those of transformers."""
    config, name = attention.config, f"wordsight_{id(attend)}"
    ALL_ATTENTION_FUNCTIONS[name] = attend
    attention.config = copy.copy(config)
    attention.config._attn_implementation = name
    try:
        yield
    finally:
        attention.config = config
        del ALL_ATTENTION_FUNCTIONS[name]


@contextmanager
def capture_attention(attention: Any, *, only: bool = False) -> Iterator[dict[str, Any]]:
    """While open, the first call of this attention goes into the mapping: queries, keys, mask, options. With
    `only` it ends there, and so does the block.
    """
    captured: dict[str, Any] = {}
    config = attention.config

    def capture(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any) -> Any:
        attention.config = config
        captured.update({"query": query, "key": key, "mask": mask, **options})
        if only:
            raise _Captured
        # Eager attention is a function of the model's own file; all others are known by their names.
        eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(config._attn_implementation, eager)
        return attend(module, query, key, value, mask, **options)

    with replaced_attention(attention, capture), suppress(_Captured):
        yield captured


def not_captured(layer: Any) -> ModelError:
    """The error for a layer whose attention is not known."""
    return ModelError(
        f"{type(layer).__name__} computes attention by code of its own, not by a function of transformers "
        "that can be captured"
    )


def attention_of_row(captured: Mapping[str, Any], i: int, length: int) -> Attention:
    """What was captured of row `i` of a left-padded batch, of its last `length` tokens."""
    mask = captured["mask"]
    if mask is not None:
        mask = None if mask.ndim == 2 else mask.expand(len(captured["query"]), -1, -1, -1)[i, 0]
    return Attention(
        captured["query"][i, :, -length:],
        captured["key"][i, :, -length:],
        None if mask is None else mask[-length:, -length:],
        captured["scaling"],
        captured.get("softcap"),
    )


def decoder(model: Any) -> Any:
    """The language model without its head, which some types count to it."""
    return inner_model(model.get_decoder())


def decoder_layers(model: Any) -> Sequence[Any]:
    """The layers of the language model, first to last. Raises ModelError if one is without attention, or some
    share what they attend to.
    """
    layers: Sequence[Any] = getattr(decoder(model), "layers", ())
    if not len(layers) or not all(has_attention(layer) for layer in layers):
        raise ModelError(
            f"{type(model).__name__} ({model.config.model_type}): its language model is no stack of layers "
            "with attention between which tokens could be dropped; take a method that prunes before it"
        )
    if any(getattr(layer.self_attn, "is_kv_shared_layer", False) for layer in layers):
        raise ModelError(
            f"{type(model).__name__} ({model.config.model_type}): layers of its language model share keys "
            "and values, so that none can lose tokens by itself; take a method that prunes before it"
        )
    return layers


def attention_layers(model: Any) -> Sequence[Any]:
    """The layers of the language model that have attention, first to last. Raises ModelError if none has."""
    layers = [layer for layer in getattr(decoder(model), "layers", ()) if has_attention(layer)]
    if not layers:
        raise not_captured(decoder(model))
    return layers


def has_attention(layer: Any) -> bool:
    """Whether a layer has attention of its own, which can be captured."""
    return hasattr(getattr(layer, "self_attn", None), "config")


def final_norm(model: Any, hidden: Tensor) -> Tensor:
    """What the language model makes of hidden states (..., D) after its last layer. Raises ModelError if that
    is not known.
    """
    norm = getattr(decoder(model), "norm", None)
    if norm is None:
        raise ModelError(
            f"{type(model).__name__} ({model.config.model_type}): the norm after the last layer of its "
            "language model, which this method needs, is not known; take one that prunes before it"
        )
    return norm(hidden)  # type: ignore[no-any-return]  # a Tensor


def tokens_read(model: Any, prompt: Prompt) -> float:
    """How many visual tokens of the prompt a layer of the language model reads, the mean over layers."""
    if prompt.layerwise is None:
        return len(prompt.visual)
    return prompt.layerwise.tokens_read(prompt.visual, len(decoder_layers(model)))


@dataclass(frozen=True)
class _KeptColumns:
    """The tokens of a prompt that are left: their columns (L,) in the batch as it came, and the places (N,)
    of the visual ones among them.
    """

    columns: Tensor
    visual: Tensor

    @classmethod
    def of(cls, prompt: Prompt, mask: Tensor) -> _KeptColumns:
        """Those of a whole prompt, which `mask` (L,) tells from padding."""
        return cls(mask.nonzero()[:, 0], prompt.is_visual[prompt.is_kept()].nonzero()[:, 0])

    def keep_only(self, visual: Tensor) -> tuple[_KeptColumns, Tensor]:
        """Text and the visual tokens at these places; and the places (K,) of all of them."""
        stays = torch.ones_like(self.columns, dtype=torch.bool)
        stays[self.visual] = False
        stays[visual] = True
        return _KeptColumns(self.columns[stays], stays.cumsum(0)[visual] - 1), stays.nonzero()[:, 0]


@dataclass(frozen=True)
class _Remaining:
    """What is left of a batch: its columns (B, L), padded on the left by the first token of each row; and
    where (B, L) they are no such padding.
    """

    columns: Tensor
    real: Tensor

    @classmethod
    def of(cls, rows: Sequence[_KeptColumns]) -> _Remaining:
        columns = _pad_with_first([row.columns for row in rows])
        padding = torch.tensor([columns.shape[1] - len(row.columns) for row in rows], device=columns.device)
        return cls(columns, torch.arange(columns.shape[1], device=columns.device) >= padding[:, None])

    def with_generated(self, length: int, generated: int) -> _Remaining:
        """With so many tokens that came after the `length` columns of the batch."""
        new = torch.arange(length, length + generated, device=self.columns.device).expand(
            len(self.columns), generated
        )
        return _Remaining(torch.cat([self.columns, new], 1), torch.cat([self.real, new >= 0], 1))

    def of_mask(self, mask: Tensor, *, rows: bool) -> Tensor:
        """The columns, and if asked the rows, of a mask (B, K) or (B, 1, Q, K)."""
        real = self.real.to(mask.device)
        if mask.ndim == 2:
            return _take_along(mask, self.columns, -1).masked_fill(~real, 0)
        if rows:
            mask = _take_along(mask, self.columns[:, None, :, None], -2)
        never = torch.finfo(mask.dtype).min if mask.is_floating_point() else False
        return _take_along(mask, self.columns[:, None, None], -1).masked_fill(~real[:, None, None], never)


class _Run:
    """One run of the model on a batch: before every layer, what is left of every prompt.

    cuts       the layers before which tokens go, ascending.
    left       of the batch, by cut.
    captured   by cut, the attention of the layer before.
    generated  how many tokens the model has read since it read the prompts.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        layers: Sequence[Any],
        final_norm: Callable[[Tensor], Tensor],
        beginning: BatchBeginning | None,
    ) -> None:
        self.prompts, self.layer, self.beginning = prompts, layers[0], beginning
        self.final_norm = final_norm
        self.is_flash = is_flash(layers[0].self_attn.config)
        self.plans = _plans(prompts, len(layers))
        self.cuts = sorted({cut for plan in self.plans for cut in plan})
        mask = beginning.mask if beginning else _left_padded(prompts)
        self.length = mask.shape[1]
        self.starts = [_KeptColumns.of(prompt, row) for prompt, row in zip(prompts, mask, strict=True)]
        self.rows = self.starts
        self.embeds = torch.empty(0)  # (B, L, D) of the whole batch, once its first layer reads it
        self.left: dict[int, _Remaining] = {}
        self.captured: dict[int, Mapping[str, Any]] = {}
        self.generated = 0

    def before(self, number: int, layer: Any, args: Any, given: dict[str, Any]) -> Any:
        """A layer's pre-hook: what it would read, without what is dropped."""
        hidden, *more = args
        if number == 0 and len(self.embeds):
            self.generated += hidden.shape[1]
        elif number == 0:
            self.embeds = self.whole("embeds", hidden)
        places = hidden.shape[1:2] if self.generated or self.beginning else (self.length,)
        if (
            hidden.ndim != 3
            or "position_embeddings" not in given
            or any(one.shape[1:-1] != places for one in more if one is not None)
        ):
            raise ModelError(
                f"{type(layer).__name__} takes more than values of every token and its rotary embedding, so "
                "that none can be dropped before it; take a method that prunes before the language model"
            )
        cut = max((cut for cut in self.cuts if cut <= number), default=0)
        if not cut:
            return None
        if cut not in self.left:
            ahead = cache(partial(self.attention_ahead, layer, hidden, more, given))
            hidden = self.pruned(cut, hidden, ahead)
        more, given = self.shortened(more, given, self.left[cut])
        return (hidden, *more), given

    def shortened(
        self, more: list[Any], given: dict[str, Any], left: _Remaining
    ) -> tuple[list[Any], dict[str, Any]]:
        """What a layer is given beside hidden states, of what is left alone."""
        changed: dict[str, Any] = {
            "attention_mask": self.mask(given.get("attention_mask"), left),
            # Rotary embeddings tell the places; ids with gaps would be packed sequences to FlashAttention.
            "position_ids": None,
        }
        if not self.generated:
            columns = left.columns[..., None]
            changed["position_embeddings"] = _like_parts(
                given["position_embeddings"], [_take_along(part, columns, -2) for part in self.rotary(given)]
            )
            more = [values if values is None else _take_along(values, columns, -2) for values in more]
        return more, given | changed

    def attention_ahead(
        self, layer: Any, hidden: Tensor, more: list[Any], given: dict[str, Any]
    ) -> Mapping[str, Any]:
        """The attention of a layer, if it read these hidden states of a cut before it drops any."""
        if self.left:
            more, given = self.shortened(more, given, self.left[max(self.left)])
        elif self.beginning:
            hidden = self.whole("hidden", hidden)
            no_mask = {"attention_mask": None, "position_ids": None}
            rotary = _like_parts(given["position_embeddings"], self.rotary(given))
            given = {**given, **no_mask, "position_embeddings": rotary}
        given = {name: None if isinstance(value, Cache) else value for name, value in given.items()}
        with capture_attention(layer.self_attn, only=True) as captured:
            layer.forward(hidden, *more, **given)
        if not captured:
            raise not_captured(layer)
        return captured

    def pruned(self, cut: int, hidden: Tensor, ahead: Callable[[], Mapping[str, Any]]) -> Tensor:
        """(B, L, D) what is left of the hidden states (B, M, D) from this cut on; `ahead` computes the
        attention of the layer after it.
        """
        rows, left = [], []
        is_first = not self.left
        if is_first:
            hidden = self.whole("hidden", hidden)
        for i, prompt in enumerate(self.prompts):
            row = self.rows[i]
            states = hidden[i, row.columns] if is_first else hidden[i, -len(row.columns) :]
            count = self.plans[i].get(cut, len(row.visual))
            if prompt.layerwise and count < len(row.visual):
                found = prompt.layerwise.prune_layer(self.state(cut, i, states, ahead), count)
                row, places = row.keep_only(found.visual)
                states = found.hidden[places]
            rows.append(row)
            left.append(states)
        self.rows, self.left[cut] = rows, _Remaining.of(rows)
        return _pad_with_first(left)

    def state(self, cut: int, i: int, states: Tensor, ahead: Callable[[], Mapping[str, Any]]) -> LayerState:
        """Prompt `i` at the cut, where these are its hidden states (L, D)."""
        if not (captured := self.captured.get(cut)):
            raise not_captured(self.layer)
        start = self.starts[i]
        return LayerState(
            states,
            self.rows[i].visual,
            self.attention_of(captured, i, len(states)),
            self.embeds[i, start.columns],
            start.visual,
            lambda: self.attention_of(ahead(), i, len(states)),
            self.final_norm,
        )

    def attention_of(self, captured: Mapping[str, Any], i: int, length: int) -> Attention:
        """What was captured of prompt `i`, of which so many tokens are left."""
        attention = attention_of_row(captured, i, length)
        if not self.beginning or self.left:
            return attention
        queries, columns = captured["query"][i], self.starts[i].columns
        if queries.shape[1] < self.length:
            queries = torch.cat([self.beginning.query[i], queries], 1)
        return replace(attention, queries=queries[:, columns], keys=captured["key"][i][:, columns], mask=None)

    def rotary(self, given: Mapping[str, Any]) -> Sequence[Tensor]:
        """The embeddings of the places of all columns of the batch."""
        rest = _parts(given["position_embeddings"])
        if not self.beginning:
            return rest
        pairs = zip(self.beginning.rotary, rest, strict=True)
        return [torch.cat([first.expand(*more.shape[:-2], -1, -1), more], -2) for first, more in pairs]

    def whole(self, name: str, rest: Tensor) -> Tensor:
        """(B, L, D) states of all columns of the batch, of which these are those after the beginning."""
        return torch.cat([getattr(self.beginning, name), rest], 1) if self.beginning else rest

    def mask(self, mask: Tensor | None, left: _Remaining) -> Tensor | None:
        """The mask of a layer for what is left: None, as for the whole batch, is all tokens before."""
        whole = self.length + self.generated
        if mask is None and left.real.all():
            return None
        is_rest = self.beginning is not None and not self.generated  # its rows are not those of the beginning
        if mask is None and self.is_flash:
            mask = left.real.new_ones(len(left.real), whole)
        elif mask is None or (is_rest and mask.ndim == 4):
            sees = left.real.new_ones(whole, whole).tril()[None, None, -1 if self.generated else 0 :]
            mask = _like(mask, sees)
        return left.with_generated(self.length, self.generated).of_mask(mask, rows=not self.generated)


def _parts(rotary: Any) -> Sequence[Tensor]:
    """Cosines and sines, or the one complex tensor of Llama 4."""
    return (rotary,) if isinstance(rotary, Tensor) else rotary


def _like_parts(rotary: Any, parts: Sequence[Tensor]) -> Any:
    """Parts as rotary embeddings of the same kind."""
    return parts[0] if isinstance(rotary, Tensor) else tuple(parts)


def _plans(prompts: Sequence[Prompt], depth: int) -> list[Mapping[int, int]]:
    """How many of the visual tokens of every prompt are left after how many of the layers."""
    return [prompt.layerwise.plan(prompt.visual, depth) if prompt.layerwise else {} for prompt in prompts]


def _left_padded(prompts: Sequence[Prompt]) -> Tensor:
    """(B, L) which columns of the prompts, collated, are tokens."""
    lengths = torch.tensor([prompt.length for prompt in prompts], device=prompts[0].is_visual.device)
    longest = int(lengths.max())
    return torch.arange(longest, device=lengths.device) >= longest - lengths[:, None]


def _like(mask: Tensor | None, sees: Tensor) -> Tensor:
    """What may be seen, as a mask that is added if the other one is."""
    if mask is None or not mask.is_floating_point():
        return sees
    return mask.new_zeros(()).masked_fill(~sees, torch.finfo(mask.dtype).min)


def _pad_with_first(rows: Sequence[Tensor]) -> Tensor:
    """(B, L, ...) rows (L_i, ...) as long as the longest, each padded on the left by its first entry."""
    longest = max(len(row) for row in rows)
    return torch.stack([torch.cat([row[:1].expand(longest - len(row), *row.shape[1:]), row]) for row in rows])


def _take_along(values: Tensor, index: Tensor, axis: int) -> Tensor:
    """The values at an index (B, ...) along an axis; leading axes are broadcast."""
    index = index.to(values.device).reshape((1,) * (values.ndim - index.ndim) + index.shape)
    return torch.take_along_dim(values, index, axis)
