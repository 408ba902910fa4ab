"""Condition: which tokens are redundant, whatever their picture, and the criteria that go by a name.

"Beyond Intermediate States: Explaining Visual Redundancy through Language", section 3.3,
https://arxiv.org/abs/2503.20540. Differs from the released code: thresholds may be quantiles, either half may
be left out, and other signals than the confidence may say whether a token says something.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal, get_args

import torch
from torch import Tensor
from typing_extensions import TypedDict

from wordsight._utils.options import Share, check_options
from wordsight.algorithms.ranking import ranks
from wordsight.errors import unknown

TokenSignal = Literal["confidence", "certainty", "blind_divergence", "questions", "questions_divergence"]
Measure = Literal["jensen_shannon", "released_divergence"]  # those of algorithms/divergence.py
TOKEN_SIGNALS: tuple[TokenSignal, ...] = get_args(TokenSignal)


@dataclass(frozen=True)
class Quantile:
    """A threshold given as the share of the evidence that lies below it."""

    quantile: Share

    def __post_init__(self) -> None:
        check_options(self)


MEDIAN = Quantile(0.5)


class QuantileRecord(TypedDict):
    """A threshold as a quantile."""

    quantile: Annotated[float, "share of the evidence that lies below the threshold"]


class ConditionRecord(TypedDict):
    """Which tokens are redundant: those below every threshold that there is."""

    confidence: Annotated[float | QuantileRecord | None, "threshold of the signal"]
    divergence: Annotated[float | QuantileRecord | None, "threshold of the weighted sum of both divergences"]
    signal: Annotated[TokenSignal, "what of the evidence `confidence` is the threshold of"]
    measure: Annotated[Measure, "of divergence"]
    regional_weight: float
    global_weight: float


@dataclass(frozen=True, kw_only=True)
class Condition:
    """The context-independent condition: a token that says nothing and whose absence changes nothing.

    redundant <=> regional_weight * regional + global_weight * global < divergence, and signal < confidence.
    None leaves a half out. `signal` names what of the evidence the threshold `confidence` is for.
    Absolute values do not travel between models; `Condition()` takes medians.
    """

    confidence: float | Quantile | None = MEDIAN
    divergence: float | Quantile | None = MEDIAN
    signal: TokenSignal = "confidence"
    measure: Measure = "jensen_shannon"
    regional_weight: float = 1.0
    global_weight: float = 16.0

    def __post_init__(self) -> None:
        check_options(self)

    def at(self, share: float) -> Condition:
        """The same condition with every quantile in it at this share."""
        confidence, divergence = (
            Quantile(share) if isinstance(half, Quantile) else half
            for half in (self.confidence, self.divergence)
        )
        return replace(self, confidence=confidence, divergence=divergence)

    def resolve(self, signals: Mapping[str, Tensor]) -> Condition:
        """The same condition with absolute values for quantiles of these signals (T,)."""
        return replace(
            self,
            confidence=_resolved(self.confidence, signals[self.signal]),
            divergence=_resolved(self.divergence, self.weighted_divergence(signals)),
        )

    def weighted_divergence(self, signals: Mapping[str, Tensor]) -> Tensor:
        """(T,) the weighted sum of both divergences."""
        regional, whole = (signals[f"{scope}/{self.measure}"] for scope in ("regional", "global"))
        return self.regional_weight * regional + self.global_weight * whole

    def holds(self, signals: Mapping[str, Tensor]) -> Tensor:
        """(T,) which tokens are redundant, by the signals (T,) of the evidence."""
        return _below(self.confidence, signals[self.signal]) & _below(
            self.divergence, self.weighted_divergence(signals)
        )

    def information(self, signals: Mapping[str, Tensor]) -> Tensor:
        """(T,) in [0, 1], how far a token is from redundant among these: the higher of its ranks in both
        halves.
        """
        halves = [] if self.confidence is None else [signals[self.signal]]
        if self.divergence is not None:
            halves.append(self.weighted_divergence(signals))
        return torch.stack([torch.zeros_like(signals[self.signal]), *map(ranks, halves)]).amax(0)

    def as_json(self) -> ConditionRecord:
        """The fields, quantiles as {"quantile": share}."""
        return {
            "confidence": _recorded(self.confidence),
            "divergence": _recorded(self.divergence),
            "signal": self.signal,
            "measure": self.measure,
            "regional_weight": self.regional_weight,
            "global_weight": self.global_weight,
        }


def _recorded(threshold: float | Quantile | None) -> float | QuantileRecord | None:
    return {"quantile": threshold.quantile} if isinstance(threshold, Quantile) else threshold


def _below(threshold: float | Quantile | None, values: Tensor) -> Tensor:
    value = _resolved(threshold, values)
    return torch.ones_like(values, dtype=torch.bool) if value is None else values < value


def _resolved(threshold: float | Quantile | None, values: Tensor) -> float | None:
    if not isinstance(threshold, Quantile) or not len(values):
        return None if isinstance(threshold, Quantile) else threshold
    # Not torch.quantile, which refuses more than 2**24 values.
    ordered, place = values.sort().values, round(threshold.quantile * len(values))
    if place < len(values):
        return float(ordered[place])
    return float(ordered[-1].nextafter(torch.tensor(torch.inf)))


PAPER = Condition(confidence=0.15, divergence=2e-3, measure="released_divergence")
CRITERIA = {
    "paper": PAPER,
    "both_halves": Condition(),
    "confidence": Condition(divergence=None),
    "certainty": Condition(divergence=None, signal="certainty"),
    "blind_divergence": Condition(divergence=None, signal="blind_divergence"),
    "questions": Condition(divergence=None, signal="questions"),
    "questions_divergence": Condition(divergence=None, signal="questions_divergence"),
    "regional": Condition(confidence=None, global_weight=0),
    "global": Condition(confidence=None, regional_weight=0),
    "context": Condition(confidence=None),
}
DEFAULT = CRITERIA["blind_divergence"].at(0.7)  # the best on validation, docs/findings.md


def criterion(name: str) -> Condition:
    """The criterion of a name, or the default one. Raises UsageError if there is none."""
    named = {"default": DEFAULT, **CRITERIA}
    if name not in named:
        raise unknown("criterion", name, named)
    return named[name]
