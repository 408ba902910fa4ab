"""Timing: what a pruner costs and saves on this machine, beside the unpruned model in the same rounds.

Machines are noisy: the unpruned model and the pruned one take turns on the same questions, and what counts is
the ratio of the two, with the interval of its median over the rounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import comb
from statistics import median
from time import perf_counter
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from typing_extensions import TypedDict

from wordsight._utils.options import check_options
from wordsight.evaluation.statistics import Interval
from wordsight.models.chat import TokenClock
from wordsight.models.layer_hooks import cache_name
from wordsight.models.prompt import Prompt
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner
from wordsight.tasks.base import Example

Span = Literal["vision", "selection", "prefill", "decode", "total"]
STAGES: tuple[Span, ...] = ("vision", "selection", "prefill", "decode")
SPANS: tuple[Span, ...] = (*STAGES, "total")
RATIOS: tuple[Span, ...] = ("vision", "prefill", "decode", "total")  # the unpruned model selects nothing
FEWEST_ROUNDS = 6  # the range of five values holds their median with 94 %
MOST = 10_000  # rounds, questions in a batch, tokens of an answer
Spans = dict[Span, float]  # milliseconds a question
ON_CPU = {  # PyTorch counts attention on a GPU but not the same operation on a CPU
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda query, key, value, *_, **__: int(
        sdpa_flop_count(query, key, value)  # type: ignore[no-untyped-call]  # torch has no types here
    )
}


class Work(TypedDict):
    """What a batch needs, counted, not timed."""

    kv_cache_bytes: Annotated[int, "after the prompts are read"]
    prefill_flops: Annotated[int, "of matrix products and attention"]
    peak_memory_bytes: Annotated[int | None, "allocated on the GPU"]
    peak_memory_note: Annotated[str | None, "why there is no peak memory"]


class BatchLatency(Work):
    """Times at one batch size: medians over the rounds, in milliseconds a question."""

    batch: int
    milliseconds: Spans
    unpruned_milliseconds: Annotated[Spans, "in the same rounds"]
    ratio: Annotated[dict[Span, Interval] | None, "pruned to unpruned time; null for the unpruned model"]


class Latency(TypedDict):
    """Times, memory and counted work of a pruner, or of the unpruned model."""

    rounds: int
    new_tokens: Annotated[int, "of every answer"]
    batches: list[BatchLatency]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How to time: rounds at batch 1 and at a larger batch, answers of exactly `new_tokens` tokens.

    Were the answers as long as the model likes, one that says less would look faster.
    """

    rounds: Annotated[int, Ge(FEWEST_ROUNDS), Le(MOST)] = 7
    batch: Annotated[int, Ge(1), Le(MOST)] = 8
    new_tokens: Annotated[int, Ge(2), Le(MOST)] = 8

    def __post_init__(self) -> None:
        check_options(self)

    def measure(self, vlm: VLM, examples: Sequence[Example], pruner: Pruner | None) -> Latency:
        """Times, memory and counted work of a pruner (None: of the unpruned model), for every batch size."""
        return {
            "rounds": self.rounds,
            "new_tokens": self.new_tokens,
            "batches": [
                self._at(vlm, _spread(examples, size * self.rounds), pruner)
                for size in sorted({1, self.batch})
            ],
        }

    def _at(self, vlm: VLM, examples: list[Example], pruner: Pruner | None) -> BatchLatency:
        size = len(examples) // self.rounds
        methods = [None, pruner] if pruner else [None]
        for method in methods:  # unmeasured: the first pass of a shape allocates and plans
            self._spans(vlm, examples[:size], method)
        taken: dict[bool, list[Spans]] = {False: [], True: []}  # by whether it was pruned
        for number in range(self.rounds):
            batch = examples[number * size : (number + 1) * size]
            for method in methods if number % 2 == 0 else methods[::-1]:
                taken[method is not None].append(self._spans(vlm, batch, method))
        return {
            "batch": size,
            "milliseconds": _medians(taken[pruner is not None]),
            "unpruned_milliseconds": _medians(taken[False]),
            "ratio": {stage: _ratio(taken[True], taken[False], stage) for stage in RATIOS}
            if pruner
            else None,
            **self._work(vlm, examples[:size], pruner),
        }

    def _spans(self, vlm: VLM, batch: list[Example], pruner: Pruner | None) -> Spans:
        prompts, vision, selection = [], 0.0, 0.0
        for example in batch:
            began = _now(vlm)
            prompt = _encoded(vlm, example, pruner)
            encoded = _now(vlm)
            prompts.append(pruner(prompt) if pruner else prompt)
            vision, selection = vision + encoded - began, selection + _now(vlm) - encoded
        clock, began = _Clock(), _now(vlm)
        exactly = {"max_new_tokens": self.new_tokens, "min_new_tokens": self.new_tokens}
        vlm.generate(prompts, **exactly, clock=clock)
        spans = (vision, selection, clock.first - began, _now(vlm) - clock.first)
        each = [1000 * span / len(batch) for span in spans]
        return dict(zip(SPANS, [*each, sum(each)], strict=True))

    def _work(self, vlm: VLM, batch: list[Example], pruner: Pruner | None) -> Work:
        """What the batch needs, counted, not timed; all of it in `vlm.generate`, whatever happens there."""
        device, peak = vlm.model.device, None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._spans(vlm, batch, pruner)
            peak = torch.cuda.max_memory_allocated(device)
        whole = [_encoded(vlm, example, pruner) for example in batch]
        prompts = [pruner(prompt) for prompt in whole] if pruner else whole
        return {
            "kv_cache_bytes": kv_cache_bytes(vlm, prompts),
            "prefill_flops": prefill_flops(vlm, prompts),
            "peak_memory_bytes": peak,
            "peak_memory_note": None if peak else "PyTorch counts what is allocated on a GPU only",
        }


def is_gain(ratio: Sequence[float]) -> bool:
    """Whether a ratio to the unpruned time (median, low, high) is below 1 all through its interval."""
    return ratio[2] < 1


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median of FEWEST_ROUNDS values or more, by order statistics, which assume no
    distribution.
    """
    ordered, cut = sorted(values), 0
    chance = 0.5 ** len(ordered)  # that of all values none is below the true median
    while (chance := chance + comb(len(ordered), cut + 1) * 0.5 ** len(ordered)) <= 0.025:
        cut += 1
    return ordered[cut], ordered[-1 - cut]


def kv_cache_bytes(vlm: VLM, prompts: Sequence[Prompt]) -> int:
    """The size of the key-value cache that `vlm.generate` has after it has read the prompts."""
    with _first_cache(vlm) as sizes:
        vlm.generate(prompts, max_new_tokens=1)
    return sizes[0]


def prefill_flops(vlm: VLM, prompts: Sequence[Prompt]) -> int:
    """Floating-point operations of reading the prompts and predicting one token, as PyTorch counts them:
    matrix products and attention, two for a multiplication and its addition.
    """
    with FlopCounterMode(display=False, custom_mapping=ON_CPU) as counter:
        vlm.generate(prompts, max_new_tokens=1)
    return int(counter.get_total_flops())


def _spread(examples: Sequence[Example], count: int) -> list[Example]:
    """So many of the examples, evenly spread, over and over if there are fewer."""
    if count > len(examples):
        return [examples[i % len(examples)] for i in range(count)]
    return [examples[i * len(examples) // count] for i in range(count)]


def _now(vlm: VLM) -> float:
    _wait_for(vlm.model.device)
    return perf_counter()


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _encoded(vlm: VLM, example: Example, pruner: Pruner | None) -> Prompt:
    signals = pruner.required_signals if pruner else frozenset()
    return vlm.encode(example.images, example.question, turns=example.turns, signals=signals)


class _Clock(TokenClock):
    """Waits for the work that a GPU has queued before it notes the time."""

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        _wait_for(input_ids.device)
        return super().__call__(input_ids, scores, **kwargs)


def _medians(rounds: list[Spans]) -> Spans:
    return {stage: median(spans[stage] for spans in rounds) for stage in rounds[0]}


def _ratio(pruned: list[Spans], whole: list[Spans], stage: Span) -> Interval:
    """The median over rounds of the pruned time as a share of the unpruned one, and its interval."""
    shares = [mine[stage] / theirs[stage] for mine, theirs in zip(pruned, whole, strict=True)]
    return [median(shares), *median_interval(shares)]


@contextmanager
def _first_cache(vlm: VLM) -> Iterator[list[int]]:
    """A list that gets the bytes of the cache after every forward pass."""
    sizes: list[int] = []

    def note(module: Any, given: Any, output: Any) -> None:
        tensors = [value for layer in output[cache_name(vlm.model)].layers for value in vars(layer).values()]
        sizes.append(sum(value.nbytes for value in tensors if isinstance(value, Tensor)))

    hook = vlm.model.register_forward_hook(note)
    try:
        yield sizes
    finally:
        hook.remove()
