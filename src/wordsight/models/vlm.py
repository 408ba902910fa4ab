"""VLM: a multimodal language model from Hugging Face, its processor, and the verbs encode, generate, logits,
answer.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import groupby
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, overload

import torch
from torch import Tensor
from transformers import LogitsProcessorList, PreTrainedModel, StoppingCriteriaList

from wordsight._utils.notes import note
from wordsight._utils.numbers import counted
from wordsight._utils.options import NewTokens, check_value
from wordsight._utils.progress import subtasks
from wordsight.errors import ModelError, ModelNote, UsageError, located, shown
from wordsight.media.inputs import Media, MediaInput
from wordsight.models.batching import batches
from wordsight.models.cascade import Beginning, can_cascade, last_token_only, reading_after, reading_again
from wordsight.models.chat import Answer, Chat, PreparedPrompt, TokenClock, check_pruner, closes_gaps
from wordsight.models.context import PromptLength, check_length
from wordsight.models.conversation import Conversation, Message, Turn
from wordsight.models.domain import Domain
from wordsight.models.failures import as_model_error
from wordsight.models.families import Family, family
from wordsight.models.families.base import Size
from wordsight.models.fingerprints import Fingerprint, Parts, fingerprint_of_files, fingerprint_of_model
from wordsight.models.finite import FiniteLogits, check_logits
from wordsight.models.generation import Generated, departures, generation_arguments, read_generated, seeded
from wordsight.models.layer_hooks import (
    cache_name,
    exclusive,
    is_flash,
    pruning_hooks,
    read_beginning,
    tokens_read,
)
from wordsight.models.load_options import NEW_TOKENS, LoadOptions, source_of
from wordsight.models.loading import load
from wordsight.models.memory import GIB, PassMemory, free_pass_bytes, row_bytes
from wordsight.models.offloading import input_device, on_device, onloaded
from wordsight.models.picture_keys import PICTURE_SIGNALS, with_picture_keys
from wordsight.models.prefix_cache import (
    Continuation,
    collate_continuations,
    continuations,
    keeps_every_token,
    tokens_laid_out,
)
from wordsight.models.preflight import Preflight
from wordsight.models.processing import Processed, process
from wordsight.models.prompt import (
    Prompt,
    PromptPruner,
    collate,
    collate_after,
    collate_columns,
    shared_prefix_length,
)
from wordsight.models.rows import MODALITIES, Row, check_count, split_rows
from wordsight.models.text_similarity import TEXT_SIGNALS, with_text_signals
from wordsight.models.tokens import VisualTokens
from wordsight.models.turns import last_questions
from wordsight.models.vision import Seeing, encode_images, find_encoder

if TYPE_CHECKING:
    from transformers import ProcessorMixin

T = TypeVar("T")
DRIFT = 0.02  # most that logits may differ, as a share of the largest, between two ways to read one prompt


@dataclass
class VLM:
    """A model and its processor.

    >>> vlm = VLM.from_pretrained()                      # the small embedded model
    >>> vlm.answer("street.jpg", "what color is the car?")

    pass_tokens bounds how many tokens, past their shared beginning, one forward pass of `logits` reads, and
    how many prompts are given to `generate` at a time; pass_bytes, about how many bytes they take beside the
    model. Both change nothing but last digits. options are those it was loaded with; of generation, they hold
    for answers. domain tells pictures that it knows from others, if its folder has a domain.json.
    """

    model: PreTrainedModel = field(repr=False)
    processor: ProcessorMixin = field(repr=False)
    name: str
    pass_tokens: int = 4096
    options: LoadOptions = field(default_factory=LoadOptions)
    pass_bytes: int = 4 * GIB
    family: Family = field(init=False, repr=False)
    domain: Domain | None = field(default=None, init=False, repr=False)
    _is_loaded: bool = field(default=False, init=False, repr=False)
    _is_told: bool = field(default=False, init=False, repr=False)
    _memory: PassMemory = field(init=False, repr=False)
    _checked: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        self.model = unwrapped(self.model)
        _check_kinds(self.model, self.processor)
        if "mm_encoder_outputs" not in inspect.signature(self.model.forward).parameters:
            raise ModelError(
                f"{self.name}: {type(self.model).__name__} cannot take visual tokens encoded before; "
                "expected a model with placeholders for them and transformers 5.19 or later"
            )
        if not hasattr(self.processor, "tokenizer"):
            raise ModelError(
                f"{self.name}: a {type(self.processor).__name__} prepares no pictures and text; give what "
                "transformers' AutoProcessor makes"
            )
        if hasattr(self.model.config, "qformer_config"):
            raise ModelError(
                f"{self.name}: visual tokens of {type(self.model).__name__} are queries, each of which reads "
                "the whole picture, at places that its processor adds; wordsight does not read such models"
            )
        self.family = family(self.model.config.model_type)
        self.family.prepare(self.model)
        self._memory = PassMemory(self.pass_bytes)
        self.model.eval()

    @classmethod
    def from_pretrained(
        cls,
        name: str = "demo",
        options: LoadOptions | None = None,
        *,
        dtype: str | torch.dtype | None = None,
        device: str | None = None,
        device_map: Any = None,
    ) -> VLM:
        """Load a local folder or a hub name; "demo" is the embedded model, "demo-photos" one of photos (extra
        `photos`), both in float32. What is given by name takes the place of what the options say of it.

        Raises UsageError if there is no such checkpoint, a file of it is missing, its model takes no visual
        tokens that were encoded before, or an option is none of what its processor or template takes.
        """
        if options is not None and not isinstance(options, LoadOptions):
            raise UsageError(f"options must be LoadOptions(...), got {shown(options)}")
        named = {"dtype": dtype, "device": device, "device_map": device_map}
        given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        if isinstance(dtype, torch.dtype):
            given["dtype"] = str(dtype).removeprefix("torch.")
        return cls._of_files(name, replace(options or LoadOptions(), **given))

    @classmethod
    def _of_files(cls, name: str, options: LoadOptions, layers: int | None = None) -> VLM:
        model, processor = load(name, options, layers=layers)
        room = options.pass_bytes or free_pass_bytes(model.device)
        vlm = cls(model, processor, name, options=options, pass_bytes=room)
        vlm._is_loaded = True
        vlm.domain = Domain.of_folder(source_of(name))
        return vlm

    @property
    def signals(self) -> frozenset[str]:
        """What pruners may ask for: of the vision tower, and of the words that the model knows."""
        return self.family.signals(self.model) | TEXT_SIGNALS | PICTURE_SIGNALS

    @property
    def fingerprint(self) -> str:
        """A digest of the projector and the input embeddings: the space that visual tokens live in. That of a
        checkpoint's files is the same however they are loaded.
        """
        return self._fingerprint.space

    @property
    def parts(self) -> Parts | None:
        """Digests of the vision tower and of the language model, None where they cannot be known."""
        return self._fingerprint.parts

    @cached_property
    def _fingerprint(self) -> Fingerprint:
        of_files = fingerprint_of_files(self.name, self.options) if self._is_loaded else None
        return of_files or self._fingerprint_in_memory

    @cached_property
    def _fingerprint_in_memory(self) -> Fingerprint:
        return fingerprint_of_model(self.model, self.family)

    def has_token_space(self, fingerprint: str) -> bool:
        """Whether this is the fingerprint of the space of its tokens, or was before files had one."""
        return fingerprint == self.fingerprint or fingerprint == self._fingerprint_in_memory.space

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
        processed = process(self.processor, Conversation.about(MediaInput.of(media), question, turns))
        return self.encode_processed(processed, question, signals=signals, visual=visual)

    def encode_messages(
        self, messages: Sequence[Message], *, signals: frozenset[str] = frozenset()
    ) -> Prompt:
        """The prompt of Hugging Face `messages`, with a system text, several turns, and pictures or films
        anywhere; see `encode` and `Conversation.of`.
        """
        conversation = Conversation.of(messages)
        processed = process(self.processor, conversation)
        return self.encode_processed(processed, conversation.question, signals=signals)

    def process(self, conversation: Conversation, *, new_tokens: int | None) -> Processed:
        """What the processor makes of a conversation, for `encode_processed`. Raises UsageError if all of it
        and an answer of `new_tokens` exceed the model's context; None does not ask.
        """
        processed = process(self.processor, conversation)
        row = self._row(processed.inputs)
        for modality in filter(row.placeholders, MODALITIES):
            find_encoder(self.model, row.inputs, modality)  # what it takes otherwise is refused first
        if new_tokens is not None:
            check_length(self.name, self.model.config, self.length_of(processed), new_tokens)
        return processed

    def length_of(self, processed: Processed) -> PromptLength:
        """How many positions the whole prompt takes, before the vision tower has run."""
        known = {"item": processed.item, "items": len(processed.media.frames), "turns": processed.turns}
        row = self._row(processed.inputs)
        with self._reading():
            positions = self.family.positions(self.model, row.inputs)
        return PromptLength.of(positions, row.is_visual, **known)

    def _row(self, inputs: Mapping[str, Any]) -> Row:
        (row,) = split_rows(self.model.config, inputs)
        return row

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
        (prompt,) = self._prompts(
            processed.inputs,
            [question],
            signals=signals - PICTURE_SIGNALS,
            sizes=[frame.size for frame in processed.media.frames],
            visual=None if visual is None else [visual],
        )
        if signals & PICTURE_SIGNALS:
            return replace(prompt, visual=with_picture_keys(prompt.visual, processed.media))
        return prompt

    def read(self, inputs: Mapping[str, Any], *, signals: frozenset[str] = frozenset()) -> list[Prompt]:
        """The prompts of what a processor returned for any batch: padded on either side, with several
        pictures and videos in a row, or with none.

        The tower runs once for all rows, and gradients flow if they are enabled. `labels` (rows, tokens) stay
        beside the tokens they are of. The question that a pruner may read is the last one in a row, by the
        chat template. Raises UsageError for what is no such batch.

        >>> prompts = vlm.read(processor(images=..., text=...), signals=pruner.required_signals)
        >>> model(**collate([pruner(prompt) for prompt in prompts])).loss.backward()
        """
        if not isinstance(inputs, Mapping):
            raise UsageError(f"inputs must be what a processor returns for a batch, got {shown(inputs)}")
        if signals & PICTURE_SIGNALS:
            raise UsageError(
                "what a processor returned does not tell which picture it is of, so that nothing can be "
                "looked up by the picture (the signal `picture`); give the picture itself, as to VLM.encode"
            )
        questions = last_questions(self.processor, inputs) if "question" in signals else None
        return self._prompts(inputs, questions, signals=signals)

    def _prompts(
        self,
        inputs: Any,
        questions: Sequence[str] | None,
        *,
        signals: frozenset[str],
        sizes: Sequence[Size] | None = None,
        visual: Sequence[VisualTokens] | None = None,
    ) -> list[Prompt]:
        if missing := signals - self.signals:
            raise ModelError(
                f"{self.name} ({self.model.config.model_type}) has no signal {', '.join(sorted(missing))}; "
                f"it has {', '.join(sorted(self.signals))}"
            )
        rows = split_rows(self.model.config, on_device(inputs, input_device(self.model)))
        if visual is None:
            seeing = Seeing(self.model, self.family, self.processor, sizes)
            with self._reading():
                encoded = encode_images(seeing, rows, signals - TEXT_SIGNALS)
        else:
            encoded = list(zip(rows, visual, strict=True))
        asked = questions or [""] * len(rows)
        return [self._prompt(*one, text, signals) for one, text in zip(encoded, asked, strict=True)]

    def _prompt(self, row: Row, visual: VisualTokens, question: str, signals: frozenset[str]) -> Prompt:
        check_count(int(row.is_visual.sum()), len(visual))
        tokenizer = self.processor.tokenizer
        visual = with_text_signals(self.model, tokenizer, visual, question, signals & TEXT_SIGNALS)
        with self._reading():
            positions = self.family.positions(self.model, row.inputs)
        sequence = {"input_ids": row.ids, "position_ids": positions}
        sequence |= self.family.token_inputs(self.model, row.inputs)
        if "labels" in row.inputs:
            sequence["labels"] = row.inputs["labels"][0]
        prompt = Prompt(sequence, row.is_visual, visual, row.of == MODALITIES.index("video"))
        if not self.family.is_known and not self._checked and len(visual):
            self._check(prompt, row.inputs)
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
    def logits(self, prompts: Sequence[Prompt], *, after: Beginning | None = None) -> Tensor:
        """(B, V) float32 logits of the first generated token of every prompt.

        What all prompts begin with, text and visual tokens alike, is computed once; or not at all, where they
        begin as one does that was read before (`begin`). Raises UsageError if one exceeds the model's
        context.
        """
        return torch.cat([*self.logits_by_pass(prompts, after=after)])

    @torch.no_grad()
    def logits_by_pass(
        self, prompts: Sequence[Prompt], *, after: Beginning | None = None
    ) -> Iterator[Tensor]:
        """The same, those (R, V) of one pass after the other: all of many prompts may not fit into memory."""
        self.check_lengths(prompts)
        begun, shared = self._beginning(prompts, after)
        longest = max(prompt.length for prompt in prompts)
        if begun and self._can_cascade(begun, prompts):
            read, kept = partial(self._logits_after, begun, shared), 0
        else:
            read, kept = partial(self._logits_repeated, begun, shared), longest
        yield from self._in_passes(
            read,
            batches(prompts, lambda prompt: prompt.length - shared, self.pass_tokens),
            each=self._row_bytes(longest - shared, kept),
            beside=begun.bytes if begun else 0,
        )

    @torch.no_grad()
    def begin(self, prompt: Prompt) -> Beginning:
        """The prompt, read whole, for `logits` of prompts that begin as it does.

        Raises UsageError if a method drops tokens of it between layers.
        """
        self.check_lengths([prompt])
        return self._begin(prompt, prompt.inputs())

    @torch.no_grad()
    def reread(self, begun: Beginning, prompts: Sequence[Prompt], columns: Tensor) -> Iterator[Tensor]:
        """(R, V) float32 logits, pass by pass, of prompts of which the read tokens at `columns` (B, K),
        ascending, alone are read: the keys and values of all others stay those of the prompt that was read
        (`begin`), as if they did not depend on what comes before them. The last of the columns are those of
        the last tokens.

        Raises ModelError if the model's attention cannot be replaced, see `can_cascade`.
        """
        length = begun.prompt.length
        if not (self.family.shares_beginning(self.model) and can_cascade(self.model, begun.cache, length)):
            raise ModelError(
                f"{self.name} ({self.model.config.model_type}) cannot read some tokens of a prompt anew and "
                "keep the others: its attention is not causal, not sdpa, or sees no further than a window; "
                "take what is exact"
            )
        count, layers = columns.shape[1], len(begun.cache.layers)
        yield from self._in_passes(
            partial(self._logits_again, begun),
            batches(list(zip(prompts, columns, strict=True)), lambda _: count, self.pass_tokens),
            # Every row has the keys and values of one layer at a time, and a mask.
            each=self._row_bytes(count, 0) + 2 * begun.bytes // layers + 5 * count * length,
            beside=begun.bytes,
        )

    def _logits_again(self, begun: Beginning, pairs: Sequence[tuple[Prompt, Tensor]]) -> Tensor:
        prompts, columns = zip(*pairs, strict=True)
        inputs = collate_columns(prompts, columns)
        with self._reading(*prompts), reading_again(self.model, begun.cache, torch.stack(columns)):
            return self._checked_logits(self._last_token(inputs, use_cache=False))

    def _beginning(self, prompts: Sequence[Prompt], after: Beginning | None) -> tuple[Beginning | None, int]:
        """What all prompts begin with, and of how many tokens it is."""
        if not self.family.shares_beginning(self.model):
            return None, 0
        if after and self._can_cascade(after, prompts):
            shared = shared_prefix_length([after.prompt, *prompts])
            if shared:
                return after, shared
        shared = shared_prefix_length(prompts) if len(prompts) > 1 and self._can_pad_after(prompts) else 0
        if not shared:
            return None, 0
        first, _ = collate_after(prompts[:1], shared)
        return self._begin(prompts[0], first), shared

    def _can_cascade(self, begun: Beginning, prompts: Sequence[Prompt]) -> bool:
        """Whether these prompts can be read after what was read, as it is: they need no padding, so that a
        token attends to all that come before it.
        """
        longest = max(prompt.length for prompt in (begun.prompt, *prompts))
        return _are_even(prompts) and can_cascade(self.model, begun.cache, longest)

    def _can_pad_after(self, prompts: Sequence[Prompt]) -> bool:
        """Whether what padding there is between a beginning and the rest of these prompts moves nothing out
        of a window.
        """
        config, longest = self.model.config.get_text_config(), max(prompt.length for prompt in prompts)
        is_padded = is_flash(config) or not _are_even(prompts)  # see `_padding`
        return not is_padded or keeps_every_token(config, longest + 1)

    def _begin(self, prompt: Prompt, inputs: dict[str, Any]) -> Beginning:
        with self._reading(prompt):
            output = self._last_token(inputs, use_cache=True)
        return Beginning(prompt, output[cache_name(self.model)], self._checked_logits(output))

    def _logits_after(self, begun: Beginning, shared: int, prompts: Sequence[Prompt]) -> Tensor:
        """(B, V) float32 logits of prompts of one length, after so many tokens of what was read."""
        _, rest = collate_after(prompts, shared)
        rest["attention_mask"] = rest["attention_mask"][:, shared:]
        with self._reading(*prompts), reading_after(self.model, begun.cache, shared):
            return self._checked_logits(self._last_token(rest, use_cache=False))

    def _logits_repeated(self, begun: Beginning | None, shared: int, prompts: Sequence[Prompt]) -> Tensor:
        """The same of any prompts; what was read is repeated for every one."""
        _, rest = collate_after(prompts, shared, self._padding(prompts) if shared else 0)
        past = copy.deepcopy(begun.cache) if begun else None
        with self._reading(*prompts), self._layerwise(prompts) as extra:
            if past is not None:
                past.batch_repeat_interleave(len(prompts))
            given = {**rest, cache_name(self.model): past, **extra}
            return self._checked_logits(self._last_token(given, use_cache=True))

    def _last_token(self, inputs: dict[str, Any], *, use_cache: bool) -> Any:
        """What the model returns for the last token of every row."""
        inputs.pop("labels", None)
        only = last_token_only(self.model) if self.family.is_known else nullcontext()
        with only:
            return self.model(**inputs, use_cache=use_cache, logits_to_keep=1)

    def _checked_logits(self, output: Any) -> Tensor:
        logits: Tensor = output.logits[:, -1].float()
        check_logits(self.name, logits, self.model)
        return logits

    def _in_passes(
        self, read: Callable[[Sequence[T]], Tensor], passes: Iterable[Sequence[T]], *, each: int, beside: int
    ) -> Iterator[Tensor]:
        """(R, V) what is read in passes, which are made smaller where they take too many bytes."""
        passes = list(passes)
        for some in subtasks(passes, len(passes)):
            for _, logits in self._memory.passes(read, some, each, beside):
                yield logits

    def _row_bytes(self, tokens: int, kept: int) -> int:
        """About how many bytes a prompt takes of which a pass reads so many tokens, and keeps so many."""
        return row_bytes(self.model.config, tokens, kept, itemsize=self.model.dtype.itemsize)

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int | None = None,
        min_new_tokens: int = 0,
        clock: TokenClock | None = None,
    ) -> list[str]:
        """The answers to the prompts, read as one left-padded batch; greedy, unless the options have a
        temperature. Raises UsageError if a prompt and its answer exceed the model's context.
        """
        return [
            answer.text
            for answer in self.generated(
                prompts, max_new_tokens=max_new_tokens, min_new_tokens=min_new_tokens, clock=clock
            )
        ]

    @torch.no_grad()
    def generated(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int | None = None,
        min_new_tokens: int = 0,
        clock: TokenClock | None = None,
    ) -> list[Generated]:
        """The same as `generate`, with whether an answer is cut."""
        lengths = {"max_new_tokens": self.new_tokens(max_new_tokens), "min_new_tokens": min_new_tokens}
        self.check_lengths(prompts, lengths["max_new_tokens"])
        stopping = StoppingCriteriaList([clock] if clock else [])
        with self._layerwise(prompts) as extra:
            return self._generated(prompts, collate(prompts), **lengths, stopping_criteria=stopping, **extra)

    def _generated(self, prompts: Sequence[Prompt], inputs: dict[str, Any], **given: Any) -> list[Generated]:
        """The answers to prompts that are laid out in `inputs`, by `generate` of transformers."""
        self._tell_departures()
        options, tokenizer = self.options.generation, self.processor.tokenizer
        inputs.pop("labels", None)
        given |= generation_arguments(options, tokenizer)
        finite = LogitsProcessorList([FiniteLogits(self.name, self.model)])
        # Without a cache, generate drops an all-ones mask and reads gapped positions as packed sequences.
        with self._reading(*prompts), seeded(options, self.model.device):
            output = self.model.generate(**inputs, **given, logits_processor=finite, use_cache=True)
        ends = self.model.generation_config.eos_token_id
        ends = [tokenizer.eos_token_id] if ends is None else ends if isinstance(ends, list) else [ends]
        new = output[:, inputs["input_ids"].shape[1] :]
        return read_generated(new, self.processor, ends, options.stop)

    def new_tokens(self, asked: int | None) -> int:
        """The most tokens of an answer: as asked, else as the options say."""
        most = asked if asked is not None else self.options.generation.max_new_tokens or NEW_TOKENS
        check_value("max_new_tokens", most, NewTokens)
        return most

    def _tell_departures(self) -> None:
        """Say, once, what the checkpoint does to answers that one takes for greedy."""
        if self._is_told or self.options.generation.is_sampled:
            return
        self._is_told = True
        if found := departures(self.model.generation_config, self.options.generation):
            note(
                f"{self.name}: its generation_config.json has {found}, which changes greedy answers; options "
                "of generation (--generation NAME=VALUE) take the place of what it says",
                ModelNote,
            )

    def check_lengths(self, prompts: Iterable[Prompt], new_tokens: int = 0) -> None:
        """Raises UsageError if a prompt and an answer of so many tokens exceed the model's context."""
        for prompt in prompts:
            length = PromptLength.of(prompt.sequence["position_ids"], prompt.is_visual)
            check_length(self.name, self.model.config, length, new_tokens)

    @contextmanager
    def _reading(self, *prompts: Prompt) -> Iterator[None]:
        """While the model reads, no other thread uses it; what it raises is one sentence, but a layerwise
        method of the prompts may have raised it.
        """
        told = as_model_error(f"{self.name} ({self.model.config.model_type}) cannot read this prompt")
        with exclusive(self.model), nullcontext() if any(one.layerwise for one in prompts) else told:
            yield

    def _layerwise(self, prompts: Sequence[Prompt]) -> AbstractContextManager[dict[str, Any]]:
        """The hooks of the prompts' layerwise methods, which are checked before."""
        self._check_layerwise(prompts)
        return pruning_hooks(self.model, prompts)

    def _check_layerwise(self, prompts: Sequence[Prompt]) -> None:
        for prompt in prompts:
            if prompt.layerwise:
                prompt.layerwise.check(self)

    def answers(self, prompts: Sequence[Prompt], max_new_tokens: int | None = None) -> list[str]:
        """The answers to any number of prompts, as many at a time as fit into a pass."""
        return [answer.text for answer in self.generated_in_passes(prompts, max_new_tokens)]

    def generated_in_passes(
        self, prompts: Sequence[Prompt], max_new_tokens: int | None = None
    ) -> list[Generated]:
        """The same as `answers`, with whether an answer is cut. What prompts in a row that have the very same
        visual tokens begin with is read once for all of them.
        """
        most = self.new_tokens(max_new_tokens)
        items = continuations(prompts) if self._shares_answers else []
        if items and not keeps_every_token(self.model.config, most + tokens_laid_out(items)):
            items = []
        items = items or [Continuation(prompt) for prompt in prompts]
        groups = [
            group
            for _, alike in groupby(items, lambda item: item.shared > 0)
            for group in batches(alike, lambda item: item.tokens, self.pass_tokens)
        ]
        generate = partial(self._generated_after, max_new_tokens=max_new_tokens)
        return [
            answer
            for group in subtasks(groups, len(groups))
            for _, answers in self._memory.passes(generate, group, self._continuation_bytes(group, most))
            for answer in answers
        ]

    @property
    def _shares_answers(self) -> bool:
        """Whether prompts that begin alike can be answered after one reading of it, with the same answers:
        what is drawn depends on which prompts are in a pass.
        """
        return self.family.shares_beginning(self.model) and not self.options.generation.is_sampled

    @torch.no_grad()
    def _generated_after(self, items: Sequence[Continuation], max_new_tokens: int | None) -> list[Generated]:
        """The answers to prompts in one pass, after one of what they begin with, if that is shared."""
        prompts = [item.prompt for item in items]
        if not items[0].shared:
            return self.generated(prompts, max_new_tokens=max_new_tokens)
        most = self.new_tokens(max_new_tokens)
        self.check_lengths(prompts, most)
        self._check_layerwise(prompts)
        first, inputs, group = collate_continuations(items, self._padding(prompts))
        first.pop("labels", None)
        with self._reading(*prompts):
            beginning = read_beginning(self.model, first, prompts, group, inputs["attention_mask"])
        if beginning is None:
            return self.generated(prompts, max_new_tokens=max_new_tokens)
        with pruning_hooks(self.model, prompts, beginning) as extra:
            return self._generated(prompts, inputs, max_new_tokens=most, **extra)

    def _padding(self, prompts: Sequence[Prompt]) -> int:
        """How much padding prompts need after a cache: FlashAttention reads one row with gaps as packed
        sequences there, unless it is padded.
        """
        return int(len(prompts) == 1 and is_flash(self.model.config.get_text_config()))

    def _continuation_bytes(self, items: Sequence[Continuation], new_tokens: int) -> int:
        read = max(item.tokens for item in items)
        return self._row_bytes(read + new_tokens, max(item.prompt.length for item in items) + new_tokens)

    def _answer_bytes(self, prompts: Iterable[Prompt], max_new_tokens: int | None) -> int:
        longest = max(prompt.length for prompt in prompts) + self.new_tokens(max_new_tokens)
        return self._row_bytes(longest, longest)

    def answer_prepared(
        self, prepared: Iterable[PreparedPrompt], max_new_tokens: int | None = None
    ) -> Iterator[Answer]:
        """The answers, as many prompts at a time as fit into a pass."""
        for batch in batches(prepared, lambda one: one.prompt.length, self.pass_tokens):
            each = self._answer_bytes((one.prompt for one in batch), max_new_tokens)
            work = partial(self._answers_of, max_new_tokens=max_new_tokens)
            for _, answers in self._memory.passes(work, batch, each):
                yield from answers

    def _answers_of(self, batch: Sequence[PreparedPrompt], max_new_tokens: int | None) -> list[Answer]:
        """The answers to prompts that are read in one pass."""
        clock, began = TokenClock(), perf_counter()
        prompts = [one.prompt for one in batch]
        generated = self.generated(prompts, max_new_tokens=max_new_tokens, clock=clock)
        spans = clock.first - began, perf_counter() - clock.first
        answers = []
        for said, one in zip(generated, batch, strict=True):
            vision, selection, prefill, decode = (
                round(1000 * span, 3) for span in (one.vision, one.selection, *spans)
            )
            kept = round(tokens_read(self.model, one.prompt), 1)
            times = vision, selection, prefill, decode
            answers.append(Answer(said.text, one.total, kept, *times, said.cut, one.warning))
        return answers

    def chat(
        self,
        media: Media | Sequence[Media] = (),
        *,
        pruner: PromptPruner | None = None,
        messages: Sequence[Message] | Conversation = (),
    ) -> Chat:
        """Questions about the same images or videos, which are encoded once and pruned once, but for methods
        inside the language model: they prune for every question.

        Hugging Face `messages` may stand in place of media: `chat.answer()` answers the last of them.
        """
        return Chat(self, media, pruner, begun=messages)

    @overload
    def answer(
        self,
        media: Media | Sequence[Media],
        question: str,
        *,
        pruner: PromptPruner | None = None,
        max_new_tokens: int | None = None,
    ) -> Answer: ...

    @overload
    def answer(
        self,
        media: Sequence[Media | Sequence[Media]],
        question: list[str],
        *,
        pruner: PromptPruner | None = None,
        max_new_tokens: int | None = None,
    ) -> list[Answer]: ...

    def answer(
        self,
        media: Any,
        question: str | list[str],
        *,
        pruner: PromptPruner | None = None,
        max_new_tokens: int | None = None,
    ) -> Answer | list[Answer]:
        """Ask a question about one or more images or videos, pruned before if a pruner is given.

        A list of questions, with as many images (or lists of them), is answered in batches. Raises UsageError
        before any of them is, if one cannot be.
        """
        most = self.new_tokens(max_new_tokens)
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
        new_tokens = None if closes_gaps(pruner) else most
        preflight = Preflight(self)
        for number, (item, asked) in enumerate(pairs, 1):
            with located(f"question {number}"):
                preflight.check(Conversation.about(MediaInput.of(item), asked), new_tokens)
        prepared = (self.chat(item, pruner=pruner).prepare(asked, max_new_tokens) for item, asked in pairs)
        return list(self.answer_prepared(prepared, max_new_tokens))


def load_encoder(name: str, options: LoadOptions) -> VLM:
    """A model that can encode, and nothing else: the layers of its language model are not loaded."""
    return VLM._of_files(name, options, layers=0)


def unwrapped(model: Any) -> Any:
    """The model of transformers inside what peft, accelerate or torch.compile made of it; adapters stay in
    its layers.
    """
    while not isinstance(model, PreTrainedModel):
        # Of its own modules: peft passes on any other name, and a model has a base_model of its own.
        own = dict(model.named_children()) if isinstance(model, torch.nn.Module) else {}
        found = next(
            (own[name] for name in ("base_model", "module", "_orig_mod", "model") if name in own), None
        )
        if found is None:
            return model
        model = found
    return model


def _are_even(prompts: Sequence[Prompt]) -> bool:
    """Whether all prompts are of one length."""
    return len({prompt.length for prompt in prompts}) == 1


def _check_kinds(model: object, processor: object) -> None:
    """Raises UsageError for what is no model, and for a processor that makes no text into ids."""
    if not isinstance(model, torch.nn.Module):
        raise UsageError(f"model must be a loaded model of transformers, got {shown(model)}")
    if not hasattr(processor, "tokenizer"):
        raise UsageError(
            f"processor must be one of pictures and text, got {shown(processor)}; "
            "AutoProcessor.from_pretrained loads that of a checkpoint"
        )
