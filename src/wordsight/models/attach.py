"""Attach: a caller's own `model.generate`, a pipeline's too, reads pruned prompts until it is detached."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from wordsight._utils.numbers import counted
from wordsight.errors import UsageError
from wordsight.models.chat import check_pruner
from wordsight.models.layer_hooks import cache_name, exclusive, pruning_hooks, tokens_read
from wordsight.models.prompt import Prompt, PromptPruner, collate, collate_after
from wordsight.models.rows import PIXELS
from wordsight.models.vlm import VLM, unwrapped

PRUNED_BY = "_wordsight_pruned_by"  # what a key-value cache says of the prompts that it holds
# What reads the prompt by itself, or lays its own positions out: it would not be that of the pruned prompt.
REFUSED = {
    "assistant_model": "assisted decoding, whose second model has not seen the pruned prompt",
    "prompt_lookup_num_tokens": "prompt lookup, which copies from the prompt's ids",
    "assistant_early_exit": "assisted decoding",
    "custom_generate": "a generation method of your own",
    "negative_prompt_ids": "a second, negative prompt",
    "guidance_scale": "classifier-free guidance, which makes a second prompt",
    "inputs_embeds": "embeddings in place of token ids",
    "position_ids": "positions of your own: it computes those of the whole prompt",
    "prefill_chunk_size": "a prompt that is read in chunks",
    "token_healing": "the healing of tokens, which reads the prompt's ids without its pictures",
    "use_mtp": "drafts of several tokens, which are read at positions of the model's own",
}


@dataclass
class PruningStats:
    """How many prompts were read, and how many visual tokens they had, before and after pruning; where layers
    read different numbers of them, after is their mean. `last` is that of the last batch, prompt by prompt.
    """

    prompts: int = 0
    before: int = 0
    after: float = 0.0
    last: list[tuple[int, float]] = field(default_factory=list)

    def add(self, counts: Sequence[tuple[int, float]]) -> None:
        """Count a batch of prompts."""
        self.last = list(counts)
        self.prompts += len(counts)
        self.before += sum(before for before, _ in counts)
        self.after += sum(after for _, after in counts)

    @property
    def kept(self) -> float:
        """The share of visual tokens that was read."""
        return self.after / self.before if self.before else 1.0


def attach(model: Any, processor: Any, pruner: PromptPruner) -> Attached:
    """From now on `model.generate(**inputs)` prunes the visual tokens of what it is given, until `.detach()`
    or the end of a `with` block; what it returns begins with the whole prompt, as without.

    The model may be wrapped by peft or accelerate. Prompts without pictures or videos are generated as
    before. Pruners that read the question find the last one by the chat template. Raises UsageError if the
    pruner cannot run on the model, or the model is attached already; and `generate` does for options that
    read the prompt by themselves (assisted decoding, prompt lookup, guidance).

    >>> with attach(model, processor, DivPrune(keep=0.2)):
    ...     model.generate(**inputs, max_new_tokens=64)
    """
    if pruner is None:
        raise UsageError("attach takes a pruner, such as DivPrune(keep=0.2), got None")
    inner = unwrapped(model)
    training = [module for module in inner.modules() if module.training] if isinstance(inner, Module) else []
    name = getattr(getattr(inner, "config", None), "_name_or_path", "") or type(inner).__name__
    vlm = VLM(inner, processor, name)
    for module in training:
        module.training = True
    if isinstance(getattr(inner.generate, "__self__", None), Attached):
        raise UsageError(f"{name} is attached already; call .detach() on what attach returned")
    check_pruner(vlm, pruner)
    return Attached(vlm, pruner)


class Attached:
    """A model whose `generate` prunes, see `attach`."""

    def __init__(self, vlm: VLM, pruner: PromptPruner) -> None:
        self.vlm, self.pruner = vlm, pruner
        self._own = vars(vlm.model).get("generate")  # an attribute of the object itself is put back
        self._original: Callable[..., Any] = vlm.model.generate
        vlm.model.generate = self.generate
        self.is_attached = True

    def detach(self) -> None:
        """The model's `generate` is as it was; what somebody has put around it meanwhile stays, and prunes no
        more.
        """
        self.is_attached = False
        if vars(self.vlm.model).get("generate") != self.generate:
            return
        if self._own is None:
            del self.vlm.model.generate
        else:
            self.vlm.model.generate = self._own

    def __enter__(self) -> Attached:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

    @torch.no_grad()
    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """transformers' `generate`, of pruned prompts."""
        if not self.is_attached:
            return self._original(*args, **kwargs)
        names = list(inspect.signature(type(self.vlm.model).generate).parameters)[1:]  # without self
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        options = _Options(self.vlm.model, given)
        if all(given.get(name) is None for name in PIXELS):
            if options.pruned_by:
                raise UsageError(
                    "the key-value cache that was given holds a pruned prompt; to go on with it, give what "
                    "the processor makes of the whole conversation, its pictures and videos too"
                )
            return self._original(*args, **kwargs)
        options.check()
        if options.repeats > 1 and not self.vlm.family.takes_beams:
            raise UsageError(
                f"transformers gives several sequences of one prompt (num_beams, num_return_sequences) of a "
                f"{type(self.vlm.model).__name__} no pictures; take one"
            )
        own = _input_names(self.vlm)
        prompts = self._pruned({name: value for name, value in given.items() if name in own}, options)
        batch = self._batch(prompts, options)
        whole, length = options.ids, batch["input_ids"].shape[1]
        rest = {name: value for name, value in given.items() if name not in own}
        rest |= options.lengths(whole.shape[1]) | _on_whole_prompts(rest, whole, length)
        repeated = [prompt for prompt in prompts for _ in range(options.repeats)]
        reading = _own_read_whole_prompts(self.vlm.model, rest, whole, length)
        with pruning_hooks(self.vlm.model, repeated) as extra, reading:
            # Without a cache, generate drops an all-ones mask and reads gapped positions as packed sequences.
            output = self._original(**{**rest, **batch, **extra, "use_cache": True})
        for cache in (options.cache, getattr(output, cache_name(self.vlm.model), None)):
            if cache is not None:
                setattr(cache, PRUNED_BY, repr(self.pruner))
        if isinstance(output, Tensor):
            return _with_whole_prompts(output, whole, length)
        output.sequences = _with_whole_prompts(output.sequences, whole, length)
        return output

    def _pruned(self, given: Mapping[str, Any], options: _Options) -> list[Prompt]:
        inputs = {"attention_mask": options.mask}
        inputs |= {name: value for name, value in given.items() if value is not None and name != "labels"}
        inputs["input_ids"] = options.ids
        whole = self.vlm.read(inputs, signals=self.pruner.required_signals)
        pruned = [self.pruner(prompt) if len(prompt.visual) else prompt for prompt in whole]
        counts = [
            (len(prompt.visual), tokens_read(self.vlm.model, one))
            for prompt, one in zip(whole, pruned, strict=True)
        ]
        self.pruner.stats.add(counts)
        return pruned

    def _batch(self, prompts: Sequence[Prompt], options: _Options) -> dict[str, Any]:
        """The prompts as what `generate` takes; of those that a cache of the caller's begins with, only the
        visual tokens that are not in it.
        """
        batch = collate(prompts)
        if not options.cached:
            if options.has_cache and any(prompt.layerwise for prompt in prompts):
                raise UsageError(
                    f"{type(self.pruner).__name__} drops tokens between layers, with a key-value cache of "
                    "its own; leave out the one that was given and cache_implementation"
                )
            return batch
        if len(prompts) > 1 or self.pruner.reads_question or prompts[0].layerwise:
            raise UsageError(
                f"a key-value cache that holds {options.cached:,} tokens can be gone on with for one prompt, "
                "pruned by what reads no question: for another turn it would keep other tokens than those in "
                f"the cache; got {counted(len(prompts), 'prompt')} and {type(self.pruner).__name__}"
            )
        begins_alike = options.cached <= int(prompts[0].is_visual.int().argmax())  # with text alone
        if options.pruned_by != repr(self.pruner) and not begins_alike:
            raise UsageError(
                f"the key-value cache holds {options.cached:,} tokens, which {self.pruner} did not choose; "
                "give an empty one, which generate fills while this pruner is attached"
            )
        if options.cached >= prompts[0].length:
            raise UsageError(
                f"the key-value cache holds {options.cached:,} tokens, the pruned prompt "
                f"{prompts[0].length:,}: expected a prompt that begins with those in the cache"
            )
        _, rest = collate_after(prompts, options.cached)
        return batch | {"mm_encoder_outputs": rest["mm_encoder_outputs"]}


@dataclass(frozen=True)
class _Options:
    """The options of a call of `generate`: given by name, in its generation config, or in the model's."""

    model: Any
    given: Mapping[str, Any]

    def get(self, name: str) -> Any:
        """An option's value, None if it is not set."""
        configs = (self.given.get("generation_config"), self.model.generation_config)
        found = (self.given.get(name), *(getattr(config, name, None) for config in configs))
        return next((value for value in found if value is not None), None)

    def check(self) -> None:
        """Raises UsageError for an option that a pruned prompt cannot be generated with."""
        if not isinstance(self.ids, Tensor):
            raise UsageError(
                "there are pictures or videos, and no tensor of input_ids; give what the processor made"
            )
        for name, why in REFUSED.items():
            value = self.get(name)
            if value is None or value is False or (name == "guidance_scale" and value == 1):
                continue
            raise UsageError(f"{name}: an attached model does not take {why}; leave it out, or detach first")
        if self.get("cache_implementation") == "paged":
            raise UsageError(
                "cache_implementation=paged: transformers then reads the ids without pictures; leave it out"
            )

    @property
    def ids(self) -> Any:
        """The ids of the whole prompts, under either of the names that `generate` has for them."""
        ids = self.given.get("input_ids")
        return self.given.get("inputs") if ids is None else ids

    @property
    def mask(self) -> Tensor:
        """Which ids are no padding, told from them as transformers does where no mask is given."""
        padding, ends = self.get("pad_token_id"), self.get("eos_token_id")
        if padding is None or padding in (ends if isinstance(ends, list) else [ends]):
            return torch.ones_like(self.ids)
        mask: Tensor = self.ids != padding
        return mask.long()

    @property
    def repeats(self) -> int:
        """How many sequences of each prompt are generated side by side."""
        return max(self.get("num_beams") or 1, self.get("num_return_sequences") or 1)

    @property
    def cache(self) -> Any:
        """The key-value cache that was given."""
        return self.given.get(cache_name(self.model), self.given.get("past_key_values"))

    @property
    def has_cache(self) -> bool:
        """Whether a cache was given, or a kind of cache asked for."""
        return self.cache is not None or self.get("cache_implementation") is not None

    @property
    def cached(self) -> int:
        """How many tokens the cache that was given holds."""
        return 0 if self.cache is None else int(self.cache.get_seq_length())

    @property
    def pruned_by(self) -> str:
        """The pruner of the prompt that the cache which was given holds, "" if it holds none."""
        pruner = str(getattr(self.cache, PRUNED_BY, ""))
        return pruner if pruner and self.cached else ""

    def lengths(self, whole: int) -> dict[str, int | None]:
        """`max_length` and `min_length` count the whole prompt: what they leave for new tokens."""
        found: dict[str, int | None] = {}
        longest, shortest = self.get("max_length"), self.get("min_length")
        if longest is not None and self.get("max_new_tokens") is None:
            if longest <= whole:
                raise UsageError(
                    f"max_length={longest} counts the whole prompt, which has {whole:,} tokens: nothing is "
                    "left for an answer; give max_new_tokens"
                )
            found |= {"max_length": None, "max_new_tokens": longest - whole}
        if shortest and self.get("min_new_tokens") is None:
            found |= {"min_length": None, "min_new_tokens": max(0, shortest - whole)}
        return found


def _input_names(vlm: VLM) -> set[str]:
    """The arguments of `generate` that its processor made."""
    encoders = (getattr(vlm.model, f"get_{modality}_features", None) for modality in ("image", "video"))
    taken = {name for encode in encoders if encode for name in inspect.signature(encode).parameters}
    own = {name for part in (vlm.processor, vlm.processor.tokenizer) for name in part.model_input_names}
    named = {"inputs", "input_ids", "attention_mask", "labels", "token_type_ids", "mm_token_type_ids"}
    return (taken - {"kwargs", "return_dict"}) | own | named | set(vlm.family.per_token)


@contextmanager
def _own_read_whole_prompts(
    model: Any, given: Mapping[str, Any], whole: Tensor, length: int
) -> Iterator[None]:
    """Criteria and processors of the caller's read the ids of whole prompts; those of `generate` do not.

    `generate` joins the two kinds by their classes, of which a caller's takes the place of its own.
    """
    own = {id(one) for name in ("stopping_criteria", "logits_processor") for one in given.get(name) or ()}

    def reading(call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call, updated=())
        def called(ids: Tensor, *rest: Any, **more: Any) -> Any:
            return call(_with_whole_prompts(ids, whole, length), *rest, **more)

        return called

    def joined(theirs: Any, given: Any) -> Any:
        found = join(theirs, given)
        return type(found)(reading(one) if id(one) in own else one for one in found)

    with exclusive(model):
        join = model._merge_criteria_processor_list
        model._merge_criteria_processor_list = joined
        try:
            yield
        finally:
            del model._merge_criteria_processor_list


def _on_whole_prompts(given: Mapping[str, Any], whole: Tensor, length: int) -> dict[str, Any]:
    """What else reads ids on the way, reading those of whole prompts: a function, a streamer."""
    changed: dict[str, Any] = {}
    if allowed := given.get("prefix_allowed_tokens_fn"):
        changed["prefix_allowed_tokens_fn"] = lambda row, ids: allowed(
            row, _with_whole_prompts(ids[None], whole[row : row + 1], length)[0]
        )
    if streamer := given.get("streamer"):
        changed["streamer"] = _StreamerOfWhole(streamer, whole)
    return changed


class _StreamerOfWhole:
    """A streamer, which is given the whole prompt where `generate` gives it the pruned one."""

    def __init__(self, streamer: Any, whole: Tensor) -> None:
        self.streamer, self.whole = streamer, whole
        self.has_begun = False

    def put(self, value: Tensor) -> None:
        """Pass on what is new, the whole prompt first."""
        self.streamer.put(value if self.has_begun else self.whole.cpu())
        self.has_begun = True

    def end(self) -> None:
        """Pass the end on."""
        self.streamer.end()


def _with_whole_prompts(ids: Tensor, whole: Tensor, length: int) -> Tensor:
    """Sequences that begin with pruned prompts of this length, beginning with the whole ones."""
    prompts = whole.repeat_interleave(len(ids) // len(whole), 0)
    return torch.cat([prompts.to(ids.device), ids[:, length:]], 1)
