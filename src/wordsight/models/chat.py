"""Chat: questions about the same pictures, one after another; and what an answer took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import StoppingCriteria

from wordsight.media.inputs import Media, Shown, Turn
from wordsight.models.layer_hooks import tokens_read
from wordsight.models.prompt import Prompt, batches
from wordsight.models.tokens import VisualTokens

if TYPE_CHECKING:
    from wordsight.models.vlm import VLM
    from wordsight.pruners.base import Pruner


@dataclass(frozen=True)
class Answer:
    """What the model said, and what it read and took for it.

    tokens_kept is a mean over layers where some of them read more tokens than others. Times are wall-clock
    milliseconds; prefill and decode are those of the batch in which it was answered. On a GPU, where work is
    queued, they say when it was: measure there with a profiler.
    """

    text: str
    tokens_total: int
    tokens_kept: float
    vision_ms: float
    selection_ms: float
    prefill_ms: float
    decode_ms: float

    def __str__(self) -> str:
        return self.text


@dataclass
class Chat:
    """Questions about the same images or videos, one after another: they are encoded once and pruned once
    (for every question, by a pruner that reads it).

    >>> chat = vlm.chat("street.jpg", pruner=DivPrune(keep=0.2))
    >>> chat.ask("what color is the car?").text
    >>> chat.ask("and the bus?").text                    # reads the same tokens
    """

    vlm: VLM
    media: Media | Sequence[Media] | Shown
    pruner: Pruner | None = None
    turns: list[Turn] = field(default_factory=list)
    _whole: VisualTokens | None = field(default=None, init=False, repr=False)
    _kept: VisualTokens | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.pruner:
            self.pruner.check(self.vlm)
        self.media = Shown.of(self.media)

    def ask(self, question: str, *, max_new_tokens: int = 64) -> Answer:
        """The answer to a question after all turns before; both are remembered."""
        (answer,) = answers(self.vlm, [self.ready(question)], max_new_tokens)
        self.turns.append((question, answer.text))
        return answer

    def ready(self, question: str) -> Ready:
        """The pruned prompt of a question after all turns before."""
        began = perf_counter()
        needs = self.pruner.needs if self.pruner else frozenset()
        prompt = self.vlm.encode(self.media, question, turns=self.turns, collect=needs, seen=self._whole)
        encoded = perf_counter()
        self._whole = prompt.visual
        if self._kept is None or (self.pruner and self.pruner.reads_question):
            self._kept = self.pruner.choose(prompt.visual) if self.pruner else prompt.visual
        kept = self.pruner.place(prompt, self._kept) if self.pruner else prompt
        return Ready(kept, len(prompt.visual), encoded - began, perf_counter() - encoded)


@dataclass(frozen=True)
class Ready:
    """A pruned prompt, how many visual tokens it had, and what it took, in seconds."""

    prompt: Prompt
    total: int
    vision: float
    selection: float


def answers(vlm: VLM, ready: Iterable[Ready], max_new_tokens: int) -> Iterator[Answer]:
    """The greedy answers, as many prompts at a time as fit into `vlm.pass_tokens`."""
    for batch in batches(ready, lambda one: one.prompt.length, vlm.pass_tokens):
        clock, began = TokenClock(), perf_counter()
        texts = vlm.generate([one.prompt for one in batch], max_new_tokens=max_new_tokens, clock=clock)
        spans = clock.first - began, perf_counter() - clock.first
        for text, one in zip(texts, batch, strict=True):
            times = [round(1000 * span, 3) for span in (one.vision, one.selection, *spans)]
            yield Answer(text, one.total, round(tokens_read(vlm, one.prompt), 1), *times)


class TokenClock(StoppingCriteria):  # type: ignore[misc]  # transformers is untyped here
    """Stops nothing; notes when the first new token was there, the end of the prefill."""

    def __init__(self) -> None:
        self.first = 0.0

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        self.first = self.first or perf_counter()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
