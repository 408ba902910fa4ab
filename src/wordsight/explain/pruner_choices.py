"""Choices: which tokens pruners keep, by what scores, and what the model answers then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from wordsight._utils.numbers import exact
from wordsight._utils.registry import spec
from wordsight.algorithms.selection import highest
from wordsight.models.layer_hooks import tokens_read
from wordsight.models.layer_state import LayerState
from wordsight.models.prompt import Prompt
from wordsight.models.tokens import VisualTokens
from wordsight.models.vlm import VLM
from wordsight.pruners.base import MergePruner, Pruner, ScorePruner
from wordsight.pruners.codebook import CodebookPruner
from wordsight.pruners.layerwise import LayerPruner

MAX_NEW_TOKENS = 64


def pruner_choices(
    vlm: VLM, prompt: Prompt, pruners: Sequence[Pruner], keeps: Sequence[float]
) -> dict[str, Any]:
    """The answer with all tokens; and for each pruner ("methods") what it keeps and what is answered at every
    keep, or by its own threshold. Tokens are counted without line breaks.

    A method has scores if the highest of them are what it keeps; then any other choice follows from them.
    """
    made = [[_Choice.of(prompt, method, keep) for keep in _keeps(method, keeps)] for method in pruners]
    prompts = [prompt, *(choice.prompt for some in made for choice in some)]
    texts = iter(vlm.answers(prompts, MAX_NEW_TOKENS))
    answer = next(texts)
    methods = []
    for method, some in zip(pruners, made, strict=True):
        told = [choice.as_json(vlm, next(texts)) for choice in some]
        scores = _scores(method, prompt.visual, told)
        methods.append(
            {
                "name": spec(method),
                "how": _how(vlm, method, scores is not None),
                "scores": scores,
                "threshold": _threshold(method),
                "choices": told,
            }
        )
    return {"answer": answer, "methods": methods}


def agreement(methods: Sequence[dict[str, Any]], keeps: Sequence[float], count: int) -> list[dict[str, Any]]:
    """Per keep, by how many of the methods each of `count` tokens is kept."""
    found = []
    for i, keep in enumerate(keeps):
        kept_by = [0] * count
        for method in methods:
            for token in method["choices"][i if len(method["choices"]) > 1 else 0]["kept"]:
                kept_by[token] += 1
        found.append({"keep": keep, "kept_by": kept_by})
    return found


@dataclass(frozen=True)
class _Choice:
    """A pruned prompt, and how one finds out what is left of its visual tokens."""

    keep: float | None
    whole: VisualTokens
    prompt: Prompt

    @classmethod
    def of(cls, prompt: Prompt, method: Pruner, keep: float | None) -> _Choice:
        asked = method if keep is None else replace(method, keep=keep)
        if isinstance(asked, LayerPruner):
            asked = RecordingPruner(method=asked)
        return cls(keep, prompt.visual, asked(prompt))

    def as_json(self, vlm: VLM, answer: str) -> dict[str, Any]:
        """What is kept and answered, once the model has read the prompt."""
        inside = self.prompt.layerwise
        slots = inside.left(self.whole) if isinstance(inside, RecordingPruner) else self.prompt.visual.slot
        shows = ~self.whole.is_break
        place = shows.cumsum(0) - 1  # of each slot among tokens that are no line breaks
        kept = place[slots[shows[slots]]].tolist()
        read = round(tokens_read(vlm.model, self.prompt), 1)
        return {"keep": self.keep, "kept": kept, "tokens_read": read, "answer": answer}


@dataclass(kw_only=True)
class RecordingPruner(LayerPruner):
    """A method inside the language model; notes which visual tokens each of its steps leaves."""

    method: LayerPruner
    steps: list[Tensor] = field(default_factory=list, repr=False)

    def layers(self, depth: int) -> Sequence[int]:
        return self.method.layers(depth)

    def counts(self, tokens: VisualTokens) -> Sequence[int]:
        return self.method.counts(tokens)

    def check(self, vlm: VLM) -> None:
        self.method.check(vlm)

    def prune_layer(self, state: LayerState, count: int) -> LayerState:
        found = self.method.prune_layer(state, count)
        self.steps.append(torch.searchsorted(state.visual, found.visual))
        return found

    def left(self, tokens: VisualTokens) -> Tensor:
        """(K,) the slots of those of the tokens that the last step left."""
        slots = tokens.slot
        for step in self.steps:
            slots = slots[step]
        return slots


def _keeps(method: Pruner, keeps: Sequence[float]) -> Sequence[float | None]:
    """The keeps, but for a method that has a threshold of its own instead."""
    return [None] if getattr(method, "threshold", None) is not None else keeps


def _scores(method: Pruner, tokens: VisualTokens, told: Sequence[dict[str, Any]]) -> list[float] | None:
    """The score of each token that is no line break, if what the method keeps are the highest ones."""
    if not isinstance(method, ScorePruner):
        return None
    scores = method.score(tokens.take((~tokens.is_break).nonzero()[:, 0])).float()
    follows = all(sorted(highest(scores, len(choice["kept"])).tolist()) == choice["kept"] for choice in told)
    return exact(scores) if follows and scores.isfinite().all() else None


def _threshold(method: Pruner) -> dict[str, Any]:
    """How a threshold of the scores is told: what lies on which side of it, and the method's own."""
    if isinstance(method, CodebookPruner) and method.rule == "cosine":
        return {"label": "redundancy below", "sign": -1, "own": method.threshold}
    return {"label": "score above", "sign": 1, "own": None}


def _how(vlm: VLM, method: Pruner, has_scores: bool) -> str:
    """How the method comes to its choice, for a reader who wants another keep."""
    if has_scores:
        return "by a score of each token"
    if isinstance(method, LayerPruner):
        last = max(method.layers(len(vlm.model.get_decoder().layers)))
        return f"inside the language model; marked is what is left after layer {last}"
    if isinstance(method, MergePruner):
        return "merges tokens; marked are the places of those that are read"
    return "chooses tokens together"
