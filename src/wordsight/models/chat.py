"""Chat: questions about the same pictures, one after another; and what an answer is and took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from time import perf_counter
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import StoppingCriteria

from wordsight.errors import UsageError, shown
from wordsight.media.inputs import Media, MediaInput
from wordsight.models.conversation import Conversation, Message, Turn
from wordsight.models.domain import Domain
from wordsight.models.processing import Processed
from wordsight.models.prompt import Prompt, PromptPruner
from wordsight.models.tokens import VisualTokens


@dataclass(frozen=True)
class Answer:
    """What the model said, and what it read and took for it.

    tokens_kept is a mean over layers where some of them read more tokens than others. `cut` is an answer that
    would have gone on, beyond its max_new_tokens. Times are wall-clock milliseconds; prefill and decode are
    those of the batch in which it was answered. On a GPU, where work is queued, they say when it was: measure
    there with a profiler. `warning` is a sentence if a picture is unlike those that the model was trained on,
    as far as its folder says what those were like (`VLM.domain`).
    """

    text: str
    tokens_total: int
    tokens_kept: float
    vision_ms: float
    selection_ms: float
    prefill_ms: float
    decode_ms: float
    cut: bool = False
    warning: str | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class PreparedPrompt:
    """A pruned prompt, how many visual tokens it had, what it took, in seconds, and the answer's warning."""

    prompt: Prompt
    total: int
    vision: float
    selection: float
    warning: str | None = None


class ChatModel(Protocol):
    """What a chat needs of a `VLM`."""

    @property
    def domain(self) -> Domain | None: ...

    def process(self, conversation: Conversation, *, new_tokens: int | None) -> Processed: ...

    def encode_processed(
        self, processed: Processed, question: str, *, signals: frozenset[str], visual: VisualTokens | None
    ) -> Prompt: ...

    def answer_prepared(
        self, prepared: Iterable[PreparedPrompt], max_new_tokens: int | None
    ) -> Iterator[Answer]: ...

    def new_tokens(self, asked: int | None) -> int: ...


@dataclass
class Chat:
    """Questions about the same images or videos, one after another: they are encoded once and pruned once
    (for every question, by a pruner that reads it).

    begun  Hugging Face messages, see `Conversation.of`, in place of media: the last one's question is the
           first that is asked, by `answer`, and what is asked later comes after it.

    >>> chat = vlm.chat("street.jpg", pruner=DivPrune(keep=0.2))
    >>> chat.ask("what color is the car?").text
    >>> chat.ask("and the bus?").text                    # reads the same tokens
    """

    vlm: ChatModel
    media: Media | Sequence[Media] | MediaInput = ()
    pruner: PromptPruner | None = None
    turns: list[Turn] = field(default_factory=list)
    begun: Sequence[Message] | Conversation = ()
    _opened: MediaInput | Conversation = field(init=False, repr=False)
    _whole: VisualTokens | None = field(default=None, init=False, repr=False)
    _kept: VisualTokens | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_pruner(self.vlm, self.pruner)
        if self.begun and self.media != ():
            raise UsageError("messages hold their pictures and films themselves; give no others beside them")
        self._opened = _opened(self.begun) if self.begun else MediaInput.of(self.media)

    def answer(self, *, max_new_tokens: int | None = None) -> Answer:
        """The answer to the question that the messages which the chat has begun with end in."""
        if not isinstance(self._opened, Conversation) or self.turns:
            raise UsageError("this chat has begun with no messages whose question is open; use ask(question)")
        return self.ask(self._opened.question, max_new_tokens=max_new_tokens)

    def ask(self, question: str, *, max_new_tokens: int | None = None) -> Answer:
        """The answer to a question after all turns before; both are remembered.

        Raises UsageError if all turns, the pictures among them, and the answer exceed the model's context,
        and while the question that messages end in is open.
        """
        (answer,) = self.vlm.answer_prepared([self.prepare(question, max_new_tokens)], max_new_tokens)
        self.turns.append((question, answer.text))
        return answer

    def prepare(self, question: str, max_new_tokens: int | None = None) -> PreparedPrompt:
        """The pruned prompt of a question after all turns before, for an answer of so many tokens."""
        most = self.vlm.new_tokens(max_new_tokens)
        began = perf_counter()
        signals = self.pruner.required_signals if self.pruner else frozenset()
        new_tokens = None if closes_gaps(self.pruner) else most
        processed = self.vlm.process(self._conversation(question), new_tokens=new_tokens)
        prompt = self.vlm.encode_processed(processed, question, signals=signals, visual=self._whole)
        encoded = perf_counter()
        self._whole = prompt.visual
        if self._kept is None or (self.pruner and self.pruner.reads_question):
            self._kept = self.pruner.prune(prompt.visual) if self.pruner else prompt.visual
        kept = self.pruner.apply(prompt, self._kept) if self.pruner else prompt
        took = encoded - began, perf_counter() - encoded
        warning = self.vlm.domain.warning(prompt.visual) if self.vlm.domain else None
        return PreparedPrompt(kept, len(prompt.visual), *took, warning)

    def _conversation(self, question: str) -> Conversation:
        """All that was said, and this question."""
        if isinstance(self._opened, MediaInput):
            return Conversation.about(self._opened, question, self.turns)
        found = self._opened
        if not self.turns and question != found.question:
            raise UsageError(
                f"the messages that this chat has begun with end in a question, {shown(found.question)}; "
                "answer() answers it, and then ask(...) asks another"
            )
        for (_, answer), (asked, _) in pairwise([*self.turns, (question, "")]):
            found = found.followed_by(answer, asked)
        return found


def _opened(begun: Sequence[Message] | Conversation) -> Conversation:
    return begun if isinstance(begun, Conversation) else Conversation.of(begun)


def check_pruner(vlm: Any, pruner: PromptPruner | None) -> None:
    """Raises UsageError if this is no pruner, or cannot run on the model."""
    if pruner is not None and (isinstance(pruner, type) or not hasattr(pruner, "check")):
        raise UsageError(
            f"pruner must be an object, such as DivPrune(keep=0.2), got {shown(pruner)}; "
            "wordsight.pruners.make makes one of a SPEC"
        )
    if pruner:
        pruner.check(vlm)


def closes_gaps(pruner: PromptPruner | None) -> bool:
    """Whether the pruned prompt is shorter than the whole one: how long is known when tokens are chosen."""
    return pruner is not None and pruner.positions == "contiguous"


class TokenClock(StoppingCriteria):  # type: ignore[misc]  # transformers is untyped here
    """Stops nothing; notes when the first new token was there, the end of the prefill."""

    def __init__(self) -> None:
        self.first = 0.0

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        self.first = self.first or perf_counter()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
