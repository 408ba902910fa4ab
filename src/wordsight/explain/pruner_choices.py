"""Choices: which tokens pruners keep, by what scores, and what the model answers then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from torch import Tensor
from typing_extensions import TypedDict

from wordsight._utils.numbers import exact
from wordsight._utils.registry import spec
from wordsight.algorithms.selection import top_indices
from wordsight.models.generation import Generated
from wordsight.models.layer_hooks import decoder, tokens_read
from wordsight.models.layer_state import LayerState
from wordsight.models.prompt import Prompt
from wordsight.models.tokens import VisualTokens
from wordsight.models.vlm import VLM
from wordsight.pruners.base import MergePruner, Pruner, ScorePruner
from wordsight.pruners.codebook import CodebookPruner
from wordsight.pruners.layerwise import LayerPruner
from wordsight.tasks.scoring import score, scorer_for


class ChoiceRecord(TypedDict):
    """What a pruner keeps at a share of the tokens, and what is answered then."""

    keep: Annotated[float | None, "the share; null if the pruner's own threshold decides"]
    kept: Annotated[list[int], "the numbers of the tokens, in reading order"]
    tokens_read: Annotated[float, "the mean over the layers of the language model"]
    answer: str
    cut: Annotated[bool, "whether the answer would have gone on"]
    right: Annotated[bool | None, "null if the truth is not known"]


class ThresholdRecord(TypedDict):
    """How a threshold of the scores is described, and the pruner's own."""

    label: Annotated[str, "what the tokens that are kept have"]
    sign: Annotated[Literal[-1, 1], "the scores times this are the values that a reader sets"]
    value: Annotated[float | None, "the pruner's own threshold; null if it has none"]


class MethodRecord(TypedDict):
    """A pruner and its choices."""

    name: Annotated[str, "its SPEC"]
    selection: Annotated[str, "how it selects tokens, in words"]
    scores: Annotated[list[float] | None, "per token, if the highest are what it keeps; else null"]
    threshold: ThresholdRecord
    choices: Annotated[list[ChoiceRecord], "one per keep, or the one of its own threshold"]


class ChoicesRecord(TypedDict):
    """The answer with all tokens, and the choices of pruners."""

    answer: str
    cut: Annotated[bool, "whether it would have gone on"]
    right: Annotated[bool | None, "null if the truth is not known"]
    methods: list[MethodRecord]


class AgreementRecord(TypedDict):
    """By how many pruners each token is kept at a share."""

    keep: float
    kept_by: list[int]


def pruner_choices(
    vlm: VLM, prompt: Prompt, pruners: Sequence[Pruner], keeps: Sequence[float], truth: Sequence[str] = ()
) -> ChoicesRecord:
    """The answer with all tokens; and for each pruner what it keeps and what is answered at every keep, or by
    its own threshold. Tokens are counted without line breaks; `truth` are the answers that are right.

    A pruner has scores if the highest of them are what it keeps; then any other choice follows from them.
    """
    pruned = [[_Choice.of(prompt, pruner, keep) for keep in _keeps(pruner, keeps)] for pruner in pruners]
    prompts = [prompt, *(choice.prompt for row in pruned for choice in row)]
    answers = iter(vlm.generated_in_passes(prompts))
    answer = next(answers)
    methods: list[MethodRecord] = []
    for pruner, row in zip(pruners, pruned, strict=True):
        choices = [choice.as_json(vlm, next(answers), truth) for choice in row]
        scores = _scores(pruner, prompt.visual, choices)
        methods.append(
            {
                "name": spec(pruner),
                "selection": _joint_selection(vlm, pruner) if scores is None else "by a score of each token",
                "scores": scores,
                "threshold": _threshold(pruner),
                "choices": choices,
            }
        )
    right = _is_right(answer.text, truth)
    return {"answer": answer.text, "cut": answer.cut, "right": right, "methods": methods}


def agreement(methods: Sequence[MethodRecord], keeps: Sequence[float], count: int) -> list[AgreementRecord]:
    """Per keep, by how many of the methods each of `count` tokens is kept."""
    records: list[AgreementRecord] = []
    for i, keep in enumerate(keeps):
        kept_by = [0] * count
        for method in methods:
            for token in method["choices"][i if len(method["choices"]) > 1 else 0]["kept"]:
                kept_by[token] += 1
        records.append({"keep": keep, "kept_by": kept_by})
    return records


@dataclass(frozen=True)
class _Choice:
    """A pruned prompt, and how one finds out what is left of its visual tokens."""

    keep: float | None
    whole: VisualTokens
    prompt: Prompt

    @classmethod
    def of(cls, prompt: Prompt, pruner: Pruner, keep: float | None) -> _Choice:
        at_keep = pruner if keep is None else pruner.with_budget(keep=keep)
        if isinstance(at_keep, LayerPruner):
            at_keep = RecordingPruner(method=at_keep)
        return cls(keep, prompt.visual, at_keep(prompt))

    def as_json(self, vlm: VLM, answer: Generated, truth: Sequence[str]) -> ChoiceRecord:
        """What is kept and answered, once the model has read the prompt."""
        slots, layerwise = self.prompt.visual.slot, self.prompt.layerwise
        if isinstance(layerwise, RecordingPruner):
            slots = layerwise.kept_slots(self.whole)
        is_content = ~self.whole.is_break
        number = is_content.cumsum(0) - 1  # of each slot among tokens that are no line breaks
        return {
            "keep": self.keep,
            "kept": number[slots[is_content[slots]]].tolist(),
            "tokens_read": round(tokens_read(vlm.model, self.prompt), 1),
            "answer": answer.text,
            "cut": answer.cut,
            "right": _is_right(answer.text, truth),
        }


@dataclass(kw_only=True)
class RecordingPruner(LayerPruner):
    """A pruner inside the language model that records which visual tokens each of its prunings keeps."""

    method: LayerPruner
    kept: list[Tensor] = field(default_factory=list, repr=False)

    def layers(self, depth: int) -> Sequence[int]:
        return self.method.layers(depth)

    def counts(self, tokens: VisualTokens) -> Sequence[int]:
        return self.method.counts(tokens)

    def check(self, vlm: VLM) -> None:
        self.method.check(vlm)

    def plan(self, tokens: VisualTokens, depth: int) -> dict[int, int]:
        self.kept.clear()  # a pass may be begun again, where memory ran out
        return super().plan(tokens, depth)

    def prune_layer(self, state: LayerState, count: int) -> LayerState:
        pruned = self.method.prune_layer(state, count)
        self.kept.append(torch.searchsorted(state.visual, pruned.visual))
        return pruned

    def kept_slots(self, tokens: VisualTokens) -> Tensor:
        """(K,) the slots of those of the tokens that are left after the last pruning."""
        slots = tokens.slot
        for indices in self.kept:
            slots = slots[indices]
        return slots


def _is_right(answer: str, truth: Sequence[str]) -> bool | None:
    return score(scorer_for(truth, {}), answer, truth, {}) == 1 if truth else None


def _keeps(pruner: Pruner, keeps: Sequence[float]) -> Sequence[float | None]:
    """The keeps, but for a pruner that has a threshold of its own instead."""
    return keeps if _threshold(pruner)["value"] is None else [None]


def _scores(pruner: Pruner, tokens: VisualTokens, choices: Sequence[ChoiceRecord]) -> list[float] | None:
    """The score of each token that is no line break, if what the pruner keeps are the highest ones."""
    if not isinstance(pruner, ScorePruner):
        return None
    scores = pruner.score(tokens.without_breaks()).float()
    follows = all(
        sorted(top_indices(scores, len(choice["kept"])).tolist()) == choice["kept"] for choice in choices
    )
    return exact(scores) if follows and scores.isfinite().all() else None


def _threshold(pruner: Pruner) -> ThresholdRecord:
    if isinstance(pruner, CodebookPruner) and pruner.rule == "cosine":
        return {"label": "redundancy below", "sign": -1, "value": pruner.threshold}
    return {"label": "score above", "sign": 1, "value": None}


def _joint_selection(vlm: VLM, pruner: Pruner) -> str:
    """How a pruner without scores selects tokens, for a reader who wants another keep."""
    if isinstance(pruner, LayerPruner):
        last = max(pruner.layers(len(decoder(vlm.model).layers)))
        return f"inside the language model (the tokens left after layer {last} are marked)"
    if isinstance(pruner, MergePruner):
        return "by merging (the positions of the merged tokens are marked)"
    return "jointly, not one by one"
