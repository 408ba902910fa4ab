"""Condition: which tokens are redundant, whatever their picture, and the criteria that go by a name.

"Beyond Intermediate States: Explaining Visual Redundancy through Language", section 3.3,
https://arxiv.org/abs/2503.20540. Differs from the released code: thresholds may be quantiles, either half may
be left out, and other signals than the confidence may say whether a token says something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt
from torch import Tensor
from typing_extensions import TypedDict

from wordsight._utils.numbers import counted
from wordsight._utils.options import Share, check_options
from wordsight.algorithms.ranking import ranks
from wordsight.errors import UsageError, unknown
from wordsight.redundancy.experiments import TOKENS, TokenSignal, experiments, sources

Measure = Literal["jensen_shannon", "released_divergence"]  # those of algorithms/divergence.py


@dataclass(frozen=True)
class Quantile:
    """A threshold given as the share of the evidence that lies below it."""

    quantile: Share

    def __post_init__(self) -> None:
        check_options(self)


MEDIAN = Quantile(0.5)
Threshold = Annotated[float, "a threshold", Gt(0)] | Annotated[Quantile, "a quantile"]


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
    Absolute values do not travel between models; `Condition()` takes medians. A quantile is one of all
    tokens, so that all have to be measured; where both thresholds are absolute, divergences have to be
    measured only of the tokens whose signal is below its threshold.
    """

    confidence: Threshold | None = MEDIAN
    divergence: Threshold | None = MEDIAN
    signal: TokenSignal = "confidence"
    measure: Measure = "jensen_shannon"
    regional_weight: float = 1.0
    global_weight: float = 16.0

    def __post_init__(self) -> None:
        check_options(self)
        if self.divergence is not None and not self._divergences:
            raise UsageError(
                "a divergence whose weights are both 0 has no threshold; expected divergence=None"
            )

    def at(self, share: float) -> Condition:
        """The same condition with every quantile in it at this share."""
        confidence, divergence = (
            Quantile(share) if isinstance(half, Quantile) else half
            for half in (self.confidence, self.divergence)
        )
        return replace(self, confidence=confidence, divergence=divergence)

    def needs(self, questions: Sequence[str]) -> tuple[str, ...]:
        """The experiments that it reads, where these questions are asked."""
        count = len(questions)
        read = {TOKENS, *(name for signal in self._signals for name, _ in sources(signal, count))}
        return tuple(name for name in experiments(count) if name in read)

    @property
    def is_absolute(self) -> bool:
        """Whether it holds of a token or not whatever other tokens there are: no threshold is a quantile."""
        return not isinstance(self.confidence, Quantile) and not isinstance(self.divergence, Quantile)

    def resolve(self, signals: Mapping[str, Tensor]) -> Condition:
        """The same condition with absolute values for quantiles of these signals (T,)."""
        confidence, divergence = self.confidence, self.divergence
        if confidence is not None:
            confidence = _resolved(confidence, signals[self.signal])
        if divergence is not None:
            divergence = _resolved(divergence, self.weighted_divergence(signals))
        return replace(self, confidence=confidence, divergence=divergence)

    def weighted_divergence(self, signals: Mapping[str, Tensor]) -> Tensor:
        """(T,) the weighted sum of both divergences; one that weighs nothing is not read."""
        first, *others = (weight * signals[name] for name, weight in self._divergences.items())
        return first + others[0] if others else first

    def holds(self, signals: Mapping[str, Tensor]) -> Tensor:
        """(T,) which tokens are redundant, by the signals (T,) of the evidence. A divergence may be NaN, not
        measured, where the other half says no. Raises UsageError if it is elsewhere.
        """
        halves: list[Tensor] = []
        if self.confidence is not None:
            halves.append(_below(self.confidence, signals[self.signal]))
        if self.divergence is not None:
            divergence = self.weighted_divergence(signals)
            _check_measured(divergence, *halves)
            halves.append(_below(self.divergence, divergence))
        everywhere = torch.ones_like(signals[self._signals[0]], dtype=torch.bool)
        return torch.stack([everywhere, *halves]).all(0)

    def information(self, signals: Mapping[str, Tensor]) -> Tensor:
        """(T,) in [0, 1], how far a token is from redundant among these: the higher of its ranks in both
        halves.
        """
        halves = [] if self.confidence is None else [signals[self.signal]]
        if self.divergence is not None:
            halves.append(self.weighted_divergence(signals))
        return torch.stack([torch.zeros_like(signals[self._signals[0]]), *map(ranks, halves)]).amax(0)

    @property
    def _signals(self) -> tuple[str, ...]:
        """The signals that it reads, the cheap one first; its own where no half reads one."""
        reads_own = self.confidence is not None or self.divergence is None
        return (*([self.signal] if reads_own else []), *self._divergences)

    @property
    def _divergences(self) -> dict[str, float]:
        """The weights of the signals that the divergence is the sum of."""
        if self.divergence is None:
            return {}
        weights = {"regional": self.regional_weight, "global": self.global_weight}
        return {f"{scope}/{self.measure}": weight for scope, weight in weights.items() if weight}

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

    @classmethod
    def from_json(cls, record: ConditionRecord) -> Condition:
        """The condition of such a record."""
        confidence, divergence = _threshold(record["confidence"]), _threshold(record["divergence"])
        fields: dict[str, Any] = {**record, "confidence": confidence, "divergence": divergence}
        return cls(**fields)


def _threshold(recorded: float | QuantileRecord | None) -> float | Quantile | None:
    return Quantile(recorded["quantile"]) if isinstance(recorded, dict) else recorded


def _recorded(threshold: float | Quantile | None) -> float | QuantileRecord | None:
    return {"quantile": threshold.quantile} if isinstance(threshold, Quantile) else threshold


def _below(threshold: float | Quantile, values: Tensor) -> Tensor:
    value = _resolved(threshold, values)
    return torch.ones_like(values, dtype=torch.bool) if value is None else values < value


def _resolved(threshold: float | Quantile, values: Tensor) -> float | None:
    """The value of a threshold; None for a quantile of no values."""
    if not isinstance(threshold, Quantile):
        return threshold
    _check_measured(values)
    if not len(values):
        return None
    # Not torch.quantile, which refuses more than 2**24 values.
    ordered, place = values.sort().values, round(threshold.quantile * len(values))
    if place < len(values):
        return float(ordered[place])
    return float(ordered[-1].nextafter(torch.tensor(torch.inf)))


def _check_measured(values: Tensor, *among: Tensor) -> None:
    """Raises UsageError if a value is NaN, among the tokens of these masks."""
    missing = values.isnan()
    for mask in among:
        missing &= mask
    if count := int(missing.sum()):
        raise UsageError(
            f"the evidence is for another condition, {count} of {counted(len(values), 'token')} were not "
            "measured: collect it for this one, into the same folder"
        )


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
DEFAULT = CRITERIA["blind_divergence"].at(0.7)  # the best on validation, docs/findings_appendix.md


def criterion(name: str) -> Condition:
    """The criterion of a name, or the default one. Raises UsageError if there is none."""
    named = {"default": DEFAULT, **CRITERIA}
    if name not in named:
        raise unknown("criterion", name, named)
    return named[name]
