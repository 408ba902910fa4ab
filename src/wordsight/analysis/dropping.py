"""Dropping: how the answer to a question changes if some of a picture's tokens are not read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wordsight.algorithms.divergence import jensen_shannon
from wordsight.evaluation.prepared_task import SEEDS
from wordsight.models.prompt import Prompt
from wordsight.models.vlm import VLM
from wordsight.pruners.random import Random

LENGTH = 16  # most tokens of an answer that are compared


@dataclass(frozen=True)
class Effect:
    """How far an answer is from that with all tokens.

    divergence  Jensen-Shannon, in nats, of the first token's distribution.
    changed     1 if the greedy answer, up to LENGTH tokens of it, is another one, else 0; or a mean of such.
    """

    divergence: float
    changed: float

    @classmethod
    def mean(cls, effects: Sequence[Effect]) -> Effect:
        """What the effects are on average."""
        count = len(effects)
        divergence = sum(effect.divergence for effect in effects) / count
        return cls(divergence, sum(effect.changed for effect in effects) / count)


def effects(vlm: VLM, prompt: Prompt, dropped: Sequence[Tensor]) -> list[Effect]:
    """The effect of dropping each of these sets of tokens, as by `without`."""
    prompts = [prompt, *(without(prompt, tokens) for tokens in dropped)]
    logits = vlm.logits(prompts)
    moved = jensen_shannon(logits[:1].expand_as(logits), logits).tolist()
    answers = vlm.answers(prompts, LENGTH)
    changed = [float(answer != answers[0]) for answer in answers]
    return [Effect(*both) for both in zip(moved[1:], changed[1:], strict=True)]


def without(prompt: Prompt, dropped: Tensor) -> Prompt:
    """The prompt without the visual tokens at `dropped`, counted without line breaks; the others stay where
    they were. A line break stays exactly if a token of what it ends does.
    """
    tokens = prompt.visual
    content, breaks = (tokens.take(rows.nonzero()[:, 0]) for rows in (~tokens.is_break, tokens.is_break))
    stays = torch.ones(len(content), dtype=torch.bool, device=tokens.slot.device)
    stays[dropped] = False
    return replace(prompt, visual=content.take(stays.nonzero()[:, 0]).with_breaks(breaks))


def random_tokens(prompt: Prompt, count: int) -> list[Tensor]:
    """So many of the prompt's tokens, counted without line breaks, drawn once with every seed."""
    content = prompt.visual.without_breaks()
    return [Random(seed=seed).score(content).argsort(stable=True)[:count] for seed in SEEDS]
