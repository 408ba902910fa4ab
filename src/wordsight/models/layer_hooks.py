"""Inside: visual tokens leave between two layers of the language model, by hooks that stay for one run.

The first layers read the whole prompt. Before the layer that its `inside` names, what belongs to the tokens
dropped goes: hidden states, rotary embeddings, rows and columns of the mask. The caches of the layers after
are shorter, and in every step of the answer each of them gets the columns of the mask that its cache has.

All attention is computed by what the model was loaded with, SDPA or FlashAttention; of one layer per cut the
queries and keys are kept, from which a method computes the few rows that it needs.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from wordsight.errors import UsageError
from wordsight.models.layer_state import Attention, Midway
from wordsight.models.prompt import Prompt

if TYPE_CHECKING:
    from wordsight.models.vlm import VLM


@contextmanager
def attached(vlm: VLM, prompts: Sequence[Prompt]) -> Iterator[dict[str, Any]]:
    """While open, one run of the model on these prompts, collated in this order, drops what their `inside`
    says. The mapping is what the run has to be given for it.
    """
    if not (methods := [prompt.inside for prompt in prompts if prompt.inside]):
        yield {}
        return
    for method in methods:
        method.check(vlm)
    layers = decoder_layers(vlm)
    run = _Run(prompts, layers)
    with ExitStack() as stack:
        for number, layer in enumerate(layers):
            hook = layer.register_forward_pre_hook(partial(run.before, number), with_kwargs=True)
            stack.callback(hook.remove)
        for number in run.cuts:
            heard = stack.enter_context(listening(layers[number - 1].self_attn))
            run.heard[number] = heard
        # A cache that knows of no windows keeps all columns that the first layer's mask, and so ours, has.
        yield {vlm.cache_name: DynamicCache()}


@contextmanager
def listening(attention: Any) -> Iterator[dict[str, Any]]:
    """While open, the first that this attention is asked goes into the mapping: queries, keys, mask, and the
    options of the call.
    """
    heard: dict[str, Any] = {}
    config, name = attention.config, f"wordsight_{id(heard)}"

    def listen(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any) -> Any:
        attention.config = config
        heard.update({"query": query, "key": key, "mask": mask, **options})
        # Eager attention is a function of the model's own file; all others are known by their names.
        eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(config._attn_implementation, eager)
        return attend(module, query, key, value, mask, **options)

    ALL_ATTENTION_FUNCTIONS[name] = listen
    attention.config = copy.copy(config)
    attention.config._attn_implementation = name
    try:
        yield heard
    finally:
        attention.config = config
        del ALL_ATTENTION_FUNCTIONS[name]


def heard_of(heard: Mapping[str, Any], i: int, length: int) -> Attention:
    """What was heard of row `i` of a left-padded batch, of its last `length` tokens."""
    mask = heard["mask"]
    if mask is not None:
        mask = None if mask.ndim == 2 else mask.expand(len(heard["query"]), -1, -1, -1)[i, 0]
    return Attention(
        heard["query"][i, :, -length:],
        heard["key"][i, :, -length:],
        None if mask is None else mask[-length:, -length:],
        heard["scaling"],
        heard.get("softcap"),
    )


def decoder_layers(vlm: VLM) -> Sequence[Any]:
    """The layers of the language model, first to last."""
    layers: Sequence[Any] = getattr(vlm.model.get_decoder(), "layers", ())
    if not len(layers) or not all(hasattr(getattr(layer, "self_attn", None), "config") for layer in layers):
        raise UsageError(
            f"{vlm.name} ({vlm.model.config.model_type}): its language model is no stack of layers with "
            "attention, so that no tokens can be dropped between them; take a method that prunes before it"
        )
    return layers


def tokens_read(vlm: VLM, prompt: Prompt) -> float:
    """How many visual tokens of the prompt a layer of the language model reads, the mean over layers."""
    if prompt.inside is None:
        return len(prompt.visual)
    return prompt.inside.read(prompt.visual, len(decoder_layers(vlm)))


@dataclass(frozen=True)
class _Row:
    """The tokens of a prompt that are left: their columns (L,) in the batch as it came, and the places (N,)
    of the visual ones among them.
    """

    columns: Tensor
    visual: Tensor

    @classmethod
    def of(cls, prompt: Prompt, columns: int) -> _Row:
        is_visual = prompt.is_visual[prompt.is_kept()]
        whole = torch.arange(columns - len(is_visual), columns, device=is_visual.device)
        return cls(whole, is_visual.nonzero()[:, 0])

    def only(self, visual: Tensor) -> tuple[_Row, Tensor]:
        """Text and the visual tokens at these places; and the places (K,) of all of them."""
        stays = torch.ones_like(self.columns, dtype=torch.bool)
        stays[self.visual] = False
        stays[visual] = True
        return _Row(self.columns[stays], stays.cumsum(0)[visual] - 1), stays.nonzero()[:, 0]


@dataclass(frozen=True)
class _Left:
    """What is left of a batch: its columns (B, L), padded on the left by the first token of each row; and
    where (B, L) they are no such padding.
    """

    columns: Tensor
    real: Tensor

    @classmethod
    def of(cls, rows: Sequence[_Row]) -> _Left:
        columns = _padded([row.columns for row in rows])
        padding = torch.tensor([columns.shape[1] - len(row.columns) for row in rows], device=columns.device)
        return cls(columns, torch.arange(columns.shape[1], device=columns.device) >= padding[:, None])

    def with_said(self, length: int, said: int) -> _Left:
        """With so many tokens that came after the `length` columns of the batch."""
        new = torch.arange(length, length + said, device=self.columns.device).expand(len(self.columns), said)
        return _Left(torch.cat([self.columns, new], 1), torch.cat([self.real, new >= 0], 1))

    def of_mask(self, mask: Tensor, *, rows: bool) -> Tensor:
        """The columns, and if asked the rows, of a mask (B, K) or (B, 1, Q, K)."""
        real = self.real.to(mask.device)
        if mask.ndim == 2:
            return _taken(mask, self.columns, -1).masked_fill(~real, 0)
        if rows:
            mask = _taken(mask, self.columns[:, None, :, None], -2)
        never = torch.finfo(mask.dtype).min if mask.is_floating_point() else False
        return _taken(mask, self.columns[:, None, None], -1).masked_fill(~real[:, None, None], never)


class _Run:
    """One run of the model on a batch: before every layer, what is left of every prompt.

    cuts   the layers before which tokens go, ascending.
    left   of the batch, by cut.
    heard  by cut, what the layer before asked and offered.
    said   how many tokens the model has read since it read the prompts.
    """

    def __init__(self, prompts: Sequence[Prompt], layers: Sequence[Any]) -> None:
        self.prompts, depth = prompts, len(layers)
        self.is_flash = "flash" in layers[0].self_attn.config._attn_implementation
        self.plans = [prompt.inside.plan(prompt.visual, depth) if prompt.inside else {} for prompt in prompts]
        self.cuts = sorted({cut for plan in self.plans for cut in plan})
        self.length = max(prompt.length for prompt in prompts)
        self.starts = [_Row.of(prompt, self.length) for prompt in prompts]
        self.rows = self.starts
        self.embeds = torch.empty(0)  # (B, L, D) of the whole batch, once its first layer reads it
        self.left: dict[int, _Left] = {}
        self.heard: dict[int, Mapping[str, Any]] = {}
        self.said = 0

    def before(self, number: int, layer: Any, args: Any, given: dict[str, Any]) -> Any:
        """A layer's pre-hook: what it would read, without what is dropped."""
        (hidden,) = args
        if number == 0 and len(self.embeds):
            self.said += hidden.shape[1]
        elif number == 0:
            self.embeds = hidden
        cut = max((cut for cut in self.cuts if cut <= number), default=0)
        if not cut:
            return None
        if cut not in self.left:
            hidden = self.narrowed(cut, hidden)
        changed: dict[str, Any] = {
            "attention_mask": self.mask(given.get("attention_mask"), self.left[cut]),
            # Rotary embeddings tell the places; ids with gaps would be packed sequences to FlashAttention.
            "position_ids": None,
        }
        if not self.said:
            columns = self.left[cut].columns[..., None]
            changed["position_embeddings"] = tuple(
                _taken(part, columns, -2) for part in given["position_embeddings"]
            )
        return (hidden,), given | changed

    def narrowed(self, cut: int, hidden: Tensor) -> Tensor:
        """(B, L, D) what is left of the hidden states (B, M, D) from this cut on."""
        rows, left = [], []
        for i, prompt in enumerate(self.prompts):
            row, states = self.rows[i], hidden[i, -len(self.rows[i].columns) :]
            count = self.plans[i].get(cut, len(row.visual))
            if prompt.inside and count < len(row.visual):
                found = prompt.inside.narrow(self.midway(cut, i, states), count)
                row, places = row.only(found.visual)
                states = found.hidden[places]
            rows.append(row)
            left.append(states)
        self.rows, self.left[cut] = rows, _Left.of(rows)
        return _padded(left)

    def midway(self, cut: int, i: int, states: Tensor) -> Midway:
        """Prompt `i` at the cut, where these are its hidden states (L, D)."""
        if not (heard := self.heard.get(cut)):
            raise UsageError(
                f"{type(self.prompts[i].inside).__name__}: the attention of layer {cut} was computed by code "
                "of its own, not by a function of transformers that could be listened to"
            )
        attention, start = heard_of(heard, i, len(states)), self.starts[i]
        embeds = self.embeds[i, -len(start.columns) :]
        return Midway(states, self.rows[i].visual, attention, embeds, start.visual)

    def mask(self, mask: Tensor | None, left: _Left) -> Tensor | None:
        """The mask of a layer for what is left: None, as for the whole batch, is all tokens before."""
        whole = self.length + self.said
        if mask is None:
            if left.real.all():
                return None
            if self.is_flash:
                mask = left.real.new_ones(len(left.real), whole)
            else:
                mask = left.real.new_ones(whole, whole).tril()[None, None, -1 if self.said else 0 :]
        return left.with_said(self.length, self.said).of_mask(mask, rows=not self.said)


def _padded(rows: Sequence[Tensor]) -> Tensor:
    """(B, L, ...) rows (L_i, ...) as long as the longest, each padded on the left by its first entry."""
    longest = max(len(row) for row in rows)
    return torch.stack([torch.cat([row[:1].expand(longest - len(row), *row.shape[1:]), row]) for row in rows])


def _taken(values: Tensor, index: Tensor, axis: int) -> Tensor:
    """The values at an index (B, ...) along an axis; leading axes are broadcast."""
    index = index.to(values.device).reshape((1,) * (values.ndim - index.ndim) + index.shape)
    return torch.take_along_dim(values, index, axis)
