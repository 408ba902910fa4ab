"""VLM: a multimodal language model from Hugging Face, its processor, and the verbs encode, generate, logits,
answer.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from transformers import LogitsProcessorList, StoppingCriteriaList

from wordsight._utils.numbers import counted
from wordsight._utils.options import NewTokens, check_value
from wordsight._utils.progress import subtasks
from wordsight.errors import ModelError, UsageError, located, shown
from wordsight.media.inputs import Media, MediaInput
from wordsight.models.batching import batches
from wordsight.models.chat import Answer, Chat, PreparedPrompt, TokenClock, check_pruner, closes_gaps
from wordsight.models.context import PromptLength, check_length
from wordsight.models.failures import as_model_error
from wordsight.models.families import Family, family
from wordsight.models.finite import FiniteLogits, check_logits
from wordsight.models.layer_hooks import cache_name, is_flash, pruning_hooks, tokens_read
from wordsight.models.loading import load
from wordsight.models.offloading import input_device, onloaded
from wordsight.models.preflight import Preflight
from wordsight.models.processing import Processed, Turn, process
from wordsight.models.prompt import Prompt, PromptPruner, collate, collate_after, shared_prefix_length
from wordsight.models.text_similarity import TEXT_SIGNALS, with_text_signals
from wordsight.models.tokens import VisualTokens
from wordsight.models.vision import check_count, encode_images, find_encoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

DRIFT = 0.02  # most that logits may differ, as a share of the largest, between two ways to read one prompt


@dataclass
class VLM:
    """A model and its processor.

    >>> vlm = VLM.from_pretrained()                      # the small embedded model
    >>> vlm.answer("street.jpg", "what color is the car?")

    pass_tokens bounds how many tokens, past their shared beginning, one forward pass of `logits` reads, and
    how many prompts `compare` gives to `generate` at a time; it changes no result.
    """

    model: PreTrainedModel
    processor: ProcessorMixin
    name: str
    pass_tokens: int = 4096
    family: Family = field(init=False)
    _checked: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        if hasattr(self.model, "merge_and_unload"):
            raise ModelError(
                f"{self.name}: {type(self.model).__name__} wraps a model and its adapter; give the model "
                "that its merge_and_unload() returns"
            )
        if "mm_encoder_outputs" not in inspect.signature(self.model.forward).parameters:
            raise ModelError(
                f"{self.name}: {type(self.model).__name__} cannot take visual tokens encoded before; "
                "expected a model with placeholders for them and transformers 5.18 or later"
            )
        self.family = family(self.model.config.model_type)
        self.model.eval()

    @classmethod
    def from_pretrained(
        cls, name: str = "demo", *, dtype: str | torch.dtype = "auto", device_map: Any = None
    ) -> VLM:
        """Load a local folder or a hub name; "demo" is the embedded model, in float32. `device_map` goes to
        transformers, as "cuda" or "auto" (needs accelerate).

        Raises UsageError if there is no such checkpoint, a file of it is missing, or its model takes no
        visual tokens that were encoded before.
        """
        return cls(*load(name, dtype, device_map), name)

    @property
    def signals(self) -> frozenset[str]:
        """What pruners may ask for: of the vision tower, and of the words that the model knows."""
        return self.family.signals(self.model) | TEXT_SIGNALS

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the projector and the input embeddings: the space that visual tokens live in."""
        digest = hashlib.sha256()
        projector, embeddings = self.family.projector(self.model), self.model.get_input_embeddings()
        with onloaded(projector), onloaded(embeddings):
            weights = projector.state_dict() | {"embeddings": embeddings.weight}
            for key in sorted(weights):
                digest.update(key.encode())
                digest.update(_bytes(weights[key].detach()))
        return digest.hexdigest()[:16]

    @property
    def pad_embedding(self) -> Tensor:
        """(D,) the embedding of the padding token: what stands in for a token that is left out."""
        token = self.processor.tokenizer.pad_token_id
        if token is None:
            raise ModelError(f"{self.name} has no padding token; set processor.tokenizer.pad_token")
        embed = self.model.get_input_embeddings()  # called: Gemma scales what it looks up
        with onloaded(embed):
            embedding: Tensor = embed(torch.tensor([token], device=embed.weight.device))[0].detach()
        return embedding

    @torch.no_grad()
    def encode(
        self,
        media: Media | Sequence[Media] | MediaInput,
        question: str,
        *,
        turns: Sequence[Turn] = (),
        signals: frozenset[str] = frozenset(),
        visual: VisualTokens | None = None,
    ) -> Prompt:
        """The prompt of a question about one or more images or videos, after earlier `turns` of question and
        answer; the vision tower runs once.

        `signals` are those that a pruner needs (its `required_signals`). `visual` are the visual tokens of
        the same images from an earlier prompt: the tower does not run again. Raises UsageError for a signal
        that the model does not have, and for a text that is none to the tokenizer. A prompt may be longer
        than the model's context here: a pruner that closes gaps may make it fit.
        """
        processed = process(self.processor, MediaInput.of(media), question, turns)
        return self.encode_processed(processed, question, signals=signals, visual=visual)

    def process(
        self, media: MediaInput, question: str, *, new_tokens: int | None, turns: Sequence[Turn] = ()
    ) -> Processed:
        """What the processor makes of a question, for `encode_processed`. Raises UsageError if all of it and
        an answer of `new_tokens` exceed the model's context; None does not ask.
        """
        processed = process(self.processor, media, question, turns)
        find_encoder(self.model, processed)  # media that the model takes otherwise are refused first
        if new_tokens is not None:
            check_length(self.name, self.model.config, self.length_of(processed), new_tokens)
        return processed

    def length_of(self, processed: Processed) -> PromptLength:
        """How many positions the whole prompt takes, before the vision tower has run."""
        known = {"item": processed.item, "items": len(processed.media.frames), "turns": processed.turns}
        with self._reading():
            positions = self.family.positions(self.model, processed.inputs)
        return PromptLength.of(positions, processed.is_visual(self.model.config), **known)

    @torch.no_grad()
    def encode_processed(
        self,
        processed: Processed,
        question: str,
        *,
        signals: frozenset[str] = frozenset(),
        visual: VisualTokens | None = None,
    ) -> Prompt:
        """The prompt of what the processor made of this question, see `encode`."""
        config = self.model.config
        if missing := signals - self.signals:
            raise ModelError(
                f"{self.name} ({config.model_type}) has no signal {', '.join(sorted(missing))}; it has "
                f"{', '.join(sorted(self.signals))}"
            )
        inputs = processed.inputs.to(input_device(self.model))
        is_visual = processed.is_visual(config)
        if visual is None:
            with self._reading():
                visual = encode_images(self.model, self.family, processed, signals - TEXT_SIGNALS)
        check_count(int(is_visual.sum()), len(visual))
        tokenizer = self.processor.tokenizer
        visual = with_text_signals(self.model, tokenizer, visual, question, signals & TEXT_SIGNALS)
        with self._reading():
            positions = self.family.positions(self.model, inputs)
            sequence = {"input_ids": processed.ids, "position_ids": positions}
            sequence |= self.family.token_inputs(self.model, inputs)
        prompt = Prompt(sequence, is_visual, visual, processed.modality(config))
        if not self.family.has_picture_map and not self._checked:
            self._check(prompt, inputs)
        return prompt

    def _check(self, prompt: Prompt, inputs: Any) -> None:
        """Read the first prompt of an unknown family both ways: what we do not know of it may change it."""
        given = {name: value for name, value in inputs.items() if name != "labels"}
        with self._reading():
            theirs, ours = (
                self.model(**way, use_cache=False, logits_to_keep=1).logits.float()
                for way in (given, prompt.inputs())
            )
        check_logits(self.name, theirs[:, -1], self.model)
        if not (drift := float((theirs - ours).abs().max() / theirs.abs().max())) <= DRIFT:
            raise ModelError(
                f"{self.name} ({self.model.config.model_type}): given its own visual tokens, the model "
                f"answers otherwise than given the picture (logits off by {drift:.0%}), for a reason that "
                "wordsight does not know; CONTRIBUTING.md says how to add a family"
            )
        self._checked = True

    @torch.no_grad()
    def logits(self, prompts: Sequence[Prompt]) -> Tensor:
        """(B, V) float32 logits of the first generated token of every prompt.

        What all prompts begin with, text and visual tokens alike, is computed once. Raises UsageError if one
        exceeds the model's context.
        """
        self.check_lengths(prompts)
        shared = (
            shared_prefix_length(prompts)
            if len(prompts) > 1 and self.family.shares_beginning(self.model)
            else 0
        )
        cache = None
        if shared:
            prefix, _ = collate_after(prompts[:1], shared)
            with self._reading():
                cache = self.model(**prefix, use_cache=True, logits_to_keep=1)[cache_name(self.model)]
        longest = max(prompt.length for prompt in prompts) - shared
        rows = max(1, self.pass_tokens // longest)
        parts = []
        starts = range(0, len(prompts), rows)
        for start in subtasks(starts, len(starts)):
            chunk = prompts[start : start + rows]
            # With a cache, FlashAttention reads one row with gaps as packed sequences, unless it is padded.
            padding = int(shared > 0 and len(chunk) == 1 and is_flash(self.model.config.get_text_config()))
            _, rest = collate_after(chunk, shared, padding)
            past = copy.deepcopy(cache)
            with self._reading(*chunk), self._layerwise(chunk) as extra:
                if past is not None:
                    past.batch_repeat_interleave(len(chunk))
                given = {**rest, cache_name(self.model): past, **extra}
                output = self.model(**given, use_cache=True, logits_to_keep=1)
            parts.append(output.logits[:, -1].float())
            check_logits(self.name, parts[-1], self.model)
        return torch.cat(parts)

    @torch.no_grad()
    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int = 64,
        min_new_tokens: int = 0,
        clock: TokenClock | None = None,
    ) -> list[str]:
        """The greedy answers to the prompts, read as one left-padded batch. Raises UsageError if a prompt and
        its answer exceed the model's context.
        """
        check_value("max_new_tokens", max_new_tokens, NewTokens)
        self.check_lengths(prompts, max_new_tokens)
        inputs = collate(prompts)
        length = {"max_new_tokens": max_new_tokens, "min_new_tokens": min_new_tokens}
        watch = {
            "stopping_criteria": StoppingCriteriaList([clock] if clock else []),
            "logits_processor": LogitsProcessorList([FiniteLogits(self.name, self.model)]),
        }
        # Without a cache, generate drops an all-ones mask and reads gapped positions as packed sequences.
        with self._reading(*prompts), self._layerwise(prompts) as extra:
            output = self.model.generate(
                **inputs, **length, **extra, **watch, do_sample=False, use_cache=True
            )
        new = output[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self.processor.batch_decode(new, skip_special_tokens=True)]

    def check_lengths(self, prompts: Iterable[Prompt], new_tokens: int = 0) -> None:
        """Raises UsageError if a prompt and an answer of so many tokens exceed the model's context."""
        for prompt in prompts:
            length = PromptLength.of(prompt.sequence["position_ids"], prompt.is_visual)
            check_length(self.name, self.model.config, length, new_tokens)

    def _reading(self, *prompts: Prompt) -> AbstractContextManager[None]:
        """What the model raises while it reads prompts, as one sentence; but a layerwise method may have
        raised it.
        """
        if any(prompt.layerwise for prompt in prompts):
            return nullcontext()
        return as_model_error(f"{self.name} ({self.model.config.model_type}) cannot read this prompt")

    def _layerwise(self, prompts: Sequence[Prompt]) -> AbstractContextManager[dict[str, Any]]:
        """The hooks of the prompts' layerwise methods, which are checked before."""
        for prompt in prompts:
            if prompt.layerwise:
                prompt.layerwise.check(self)
        return pruning_hooks(self.model, prompts)

    def answers(self, prompts: Sequence[Prompt], max_new_tokens: int = 64) -> list[str]:
        """The greedy answers to any number of prompts, as many at a time as fit into `pass_tokens`."""
        groups = list(batches(prompts, lambda prompt: prompt.length, self.pass_tokens))
        return [
            text
            for group in subtasks(groups, len(groups))
            for text in self.generate(group, max_new_tokens=max_new_tokens)
        ]

    def answer_prepared(self, prepared: Iterable[PreparedPrompt], max_new_tokens: int) -> Iterator[Answer]:
        """The greedy answers, as many prompts at a time as fit into `pass_tokens`."""
        for batch in batches(prepared, lambda one: one.prompt.length, self.pass_tokens):
            clock, began = TokenClock(), perf_counter()
            texts = self.generate([one.prompt for one in batch], max_new_tokens=max_new_tokens, clock=clock)
            spans = clock.first - began, perf_counter() - clock.first
            for text, one in zip(texts, batch, strict=True):
                times = [round(1000 * span, 3) for span in (one.vision, one.selection, *spans)]
                yield Answer(text, one.total, round(tokens_read(self.model, one.prompt), 1), *times)

    def chat(self, media: Media | Sequence[Media], *, pruner: PromptPruner | None = None) -> Chat:
        """Questions about the same images or videos, which are encoded once and pruned once, but for methods
        inside the language model: they prune for every question.
        """
        return Chat(self, media, pruner)

    @overload
    def answer(
        self,
        media: Media | Sequence[Media],
        question: str,
        *,
        pruner: PromptPruner | None = None,
        max_new_tokens: int = 64,
    ) -> Answer: ...

    @overload
    def answer(
        self,
        media: Sequence[Media | Sequence[Media]],
        question: list[str],
        *,
        pruner: PromptPruner | None = None,
        max_new_tokens: int = 64,
    ) -> list[Answer]: ...

    def answer(
        self,
        media: Any,
        question: str | list[str],
        *,
        pruner: PromptPruner | None = None,
        max_new_tokens: int = 64,
    ) -> Answer | list[Answer]:
        """Ask a question about one or more images or videos, pruned before if a pruner is given.

        A list of questions, with as many images (or lists of them), is answered in batches. Raises UsageError
        before any of them is, if one cannot be.
        """
        check_value("max_new_tokens", max_new_tokens, NewTokens)
        if isinstance(question, str):
            return self.chat(media, pruner=pruner).ask(question, max_new_tokens=max_new_tokens)
        if not isinstance(question, Sequence) or isinstance(question, bytes):
            raise UsageError(f"a question must be text, or a list of texts, got {shown(question)}")
        is_list = isinstance(media, Sequence) and not isinstance(media, (str, bytes))
        if not is_list or len(media) != len(question):
            raise UsageError(
                f"a list of {counted(len(question), 'question')} needs a list of as many images or lists of "
                f"images; got {len(media) if is_list else type(media).__name__}"
            )
        pairs = list(zip(media, question, strict=True))
        check_pruner(self, pruner)
        new_tokens = None if closes_gaps(pruner) else max_new_tokens
        preflight = Preflight(self)
        for number, (item, asked) in enumerate(pairs, 1):
            with located(f"question {number}"):
                preflight.check(MediaInput.of(item), asked, new_tokens)
        prepared = (self.chat(item, pruner=pruner).prepare(asked, max_new_tokens) for item, asked in pairs)
        return list(self.answer_prepared(prepared, max_new_tokens))


def _bytes(weight: Tensor) -> Any:
    """What a weight of any shape holds, in bfloat16, as an array of bytes."""
    if is_traceable_wrapper_subclass(weight):  # as torchao quantizes it
        weight = weight.dequantize()
    return weight.to("cpu", torch.bfloat16).reshape(-1).view(torch.uint8).numpy()
