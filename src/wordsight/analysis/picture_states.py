"""The tokens of one picture: how intermediate states order them, what they say, and what dropping them does.

Whatever a constant signal leaves undefined is None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from wordsight.algorithms.ranking import Halves, common_halves, correlation, decile_means, halves
from wordsight.analysis.dropping import Effect, effects, random_tokens
from wordsight.models.prompt import Prompt
from wordsight.models.vlm import VLM

ALL = "all"  # the tokens that every order ranks low
SIDES = ("low", "random", "high")
ByMeasure = dict[str, dict[str, float | None]]  # by measure, a value for each side of a split


@dataclass(frozen=True)
class PictureStates:
    """What is known of a picture's N tokens, line breaks left out.

    orders    (N,) each, by name: the signals that order them.
    measures  (N,) each, by name: their confidence and divergences.
    words     the likeliest word of every token, None if it says nothing.
    blind     the likeliest word without any token.
    """

    orders: Mapping[str, Tensor]
    measures: Mapping[str, Tensor]
    words: Sequence[str | None]
    blind: str

    @cached_property
    def split(self) -> dict[str, Halves | None]:
        """Lowest and highest tokens by order, and by ALL of them if there are several."""
        split = {name: halves(order) for name, order in self.orders.items()}
        return split | ({ALL: common_halves(list(self.orders.values()))} if len(split) > 1 else {})

    def correlations(self) -> dict[str, dict[str, float | None]]:
        """Spearman's rho, by order and by measure."""
        return {
            name: {measure: correlation(order, values) for measure, values in self.measures.items()}
            for name, order in self.orders.items()
        }

    def tenths(self) -> dict[str, dict[str, list[float | None]]]:
        """Mean of a measure in every tenth of the tokens, by order and by measure."""
        return {
            name: {measure: decile_means(order, values) for measure, values in self.measures.items()}
            for name, order in self.orders.items()
        }

    def saying(self, sure: float) -> dict[str, ByMeasure]:
        """By name of a split, the shares of both sides that say a word with a confidence of `sure` or more
        ("says"), and one that is not the blind one ("says_other").
        """
        says = self.measures["confidence"] >= sure
        blind = (None, self.blind.casefold())
        other = says & torch.tensor([(word and word.casefold()) not in blind for word in self.words])
        return {
            name: {"says": _shares(says, split), "says_other": _shares(other, split)}
            for name, split in self.split.items()
        }

    def low_words(self, sure: float) -> dict[str, Counter[str]]:
        """By name of a split, how many of the low tokens say which word with that confidence or more."""
        says = (self.measures["confidence"] >= sure).tolist()
        words = [word if said else None for word, said in zip(self.words, says, strict=True)]
        return {
            name: Counter(
                word for i in (split.low.tolist() if split else ()) if (word := words[i]) is not None
            )
            for name, split in self.split.items()
        }

    def dropping(self, vlm: VLM, prompt: Prompt) -> dict[str, ByMeasure]:
        """By name of a split, what the answer to the prompt loses without its low tokens, its high ones, and
        as many random ones: "divergence" and "changed" of `dropping.Effect`.
        """
        sets: dict[tuple[str, Any], list[Tensor]] = {}
        for name, split in self.split.items():
            if split:
                random = random_tokens(prompt, len(split.low))
                for side, some in zip(SIDES, ([split.low], random, [split.high]), strict=True):
                    sets[_key(name, side, split)] = some
        each = iter(effects(vlm, prompt, [tokens for some in sets.values() for tokens in some]))
        mean = {key: Effect.mean([next(each) for _ in some]) for key, some in sets.items()}
        return {
            name: _compared({side: mean[_key(name, side, split)] for side in SIDES} if split else {})
            for name, split in self.split.items()
        }


def _key(name: str, side: str, split: Halves) -> tuple[str, Any]:
    """What a set of dropped tokens is known by: orders share the random ones."""
    return ("random", len(split.low)) if side == "random" else (name, side)


def _shares(holds: Tensor, split: Halves | None) -> dict[str, float | None]:
    """Of which share of the tokens of both sides it holds, and the difference."""
    if split is None:
        return {"low": None, "high": None, "low_minus_high": None}
    low, high = (float(holds[side].double().mean()) for side in split)
    return {"low": low, "high": high, "low_minus_high": low - high}


def _compared(effects: Mapping[str, Effect]) -> ByMeasure:
    """Both measures of the effects by SIDES, and their differences to random tokens."""
    compared: ByMeasure = {}
    for measure in ("divergence", "changed"):
        values = {side: getattr(effect, measure) for side, effect in effects.items()}
        gaps = {f"{side}_minus_random": values[side] - values["random"] for side in ("low", "high") if values}
        compared[measure] = dict.fromkeys((*SIDES, "low_minus_random", "high_minus_random")) | values | gaps
    return compared
