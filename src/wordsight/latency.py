"""Latency: how long answers take with and without pruning, measured in turns in one run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wordsight.progress import watched
from wordsight.pruners.base import Pruner
from wordsight.sheet import RESAMPLES
from wordsight.tasks.base import Example
from wordsight.vlm import VLM

PARTS = ("vision", "selection", "prefill", "decode")
Times = NDArray[np.float64]


def measure(
    vlm: VLM, examples: Sequence[Example], pruners: Sequence[Pruner | None], *, max_new_tokens: int
) -> Times:
    """(pruners, questions, PARTS) milliseconds of answers from picture to text, one question at a time.

    All pruners answer a question before the next one is asked, each of them first in its turn: what else
    goes on in the machine hits all alike. The first question is asked once before, unmeasured. On a GPU,
    where work is queued, the sum of the parts is right, but not their borders.
    """
    times = np.zeros((len(pruners), len(examples), len(PARTS)))
    for pruner in pruners:
        _ask(vlm, examples[0], pruner, max_new_tokens)
    for number, example in enumerate(watched(examples, "measuring times", len(examples))):
        for turn in range(len(pruners)):
            which = (number + turn) % len(pruners)
            times[which, number] = _ask(vlm, example, pruners[which], max_new_tokens)
    return times


def speed_up(whole: Times, pruned: Times) -> tuple[float, float, float]:
    """How many times as fast the second is, each (questions, PARTS): the median ratio over questions, and its
    95 % bootstrap interval.
    """
    ratios = whole.sum(1) / pruned.sum(1)  # (questions,)
    drawn = np.random.default_rng(0).integers(len(ratios), size=(RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(ratios[drawn], 1), [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)


def _ask(vlm: VLM, example: Example, pruner: Pruner | None, max_new_tokens: int) -> list[float]:
    answer = vlm.chat(example.images, pruner=pruner).ask(example.question, max_new_tokens=max_new_tokens)
    return [getattr(answer, f"{part}_ms") for part in PARTS]
