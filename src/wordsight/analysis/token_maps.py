"""Layers: the values of every token that a picture can be colored by, and why some are not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor
from typing_extensions import TypedDict

from wordsight._utils.numbers import rounded
from wordsight.algorithms.divergence import jensen_shannon
from wordsight.errors import UsageError
from wordsight.models.prompt import Prompt
from wordsight.models.text_attention import text_attention
from wordsight.models.vlm import VLM
from wordsight.redundancy import ablation
from wordsight.redundancy.codebook import Codebook

CLS = frozenset({"cls_attention", "cls_similarity"})
EARLY = 2  # the layer after which FastV prunes
NATS = "(Jensen-Shannon divergence in nats, at most 0.693)"
MOVED = f"how far the model's words move {NATS} when"
FIRST_WORD = f"how far the first word of the answer to your question moves {NATS} when"
AMONG = "the token's 3x3 neighborhood is taken out of everything that is seen"
TAIL = 0.02  # share of the tokens beyond each end of a color scale


class MapRecord(TypedDict):
    """What a map of token values shows; the values themselves are elsewhere, by its name."""

    name: str
    label: str
    about: str
    scale: Literal["log", "linear"]
    low: Annotated[float, "the end of the color scale: all but a few tokens have more"]
    high: Annotated[float, "the other end: all but a few tokens have less"]


class AbsentMap(TypedDict):
    """A map that could not be made."""

    label: str
    why: str


@dataclass(frozen=True)
class TokenMap:
    """One value (N,) for each token. `is_log`: values differ by orders of magnitude."""

    name: str
    label: str
    about: str
    values: Tensor
    is_log: bool = False

    def as_json(self) -> MapRecord:
        """All but the values, and the ends of its color scale."""
        low, high = self._ends()
        return {
            "name": self.name,
            "label": self.label,
            "about": self.about,
            "scale": "log" if self.is_log and low > 0 else "linear",
            "low": low,
            "high": high,
        }

    def _ends(self) -> list[float]:
        """What all but a few tokens lie between."""
        ordered = self.values.float().sort().values
        last = len(ordered) - 1
        ends: list[float] = rounded(ordered[[round(TAIL * last), round((1 - TAIL) * last)]])
        return ends


@dataclass(frozen=True)
class TokenMaps:
    """Those that there are, and those that are absent: their labels and why."""

    there: list[TokenMap]
    absent: list[AbsentMap]


def token_maps(vlm: VLM, prompt: Prompt, examined: Mapping[str, Tensor], book: Codebook | None) -> TokenMaps:
    """The layers of a prompt that carries the CLS signals that the model has; `examined` as by `examine`."""
    there, absent = experiment_maps(examined), list[AbsentMap]()
    if book:
        about = f"highest cosine with one of {len(book.prototypes)} prototypes of the codebook"
        content = prompt.visual.embeds[~prompt.visual.is_break]
        there.append(TokenMap("redundancy", "redundancy", about, book.redundancy(content)))
    else:
        absent.append({"label": "redundancy", "why": "no codebook was given; --codebook BOOK adds it"})
    found = intermediate_maps(vlm, prompt)
    return TokenMaps(there + found.there, absent + found.absent)


def intermediate_maps(vlm: VLM, prompt: Prompt) -> TokenMaps:
    """The layers of intermediate states, that others order tokens by: [CLS] signals, as far as the prompt
    carries them, and text-to-image attention.
    """
    content = (~prompt.visual.is_break).nonzero()[:, 0]
    there: list[TokenMap] = []
    absent: list[AbsentMap] = []
    for layer in _cls(prompt, content):
        if layer.name in vlm.signals and "cls_similarity" in vlm.signals:
            there.append(layer)
        else:
            absent.append({"label": layer.label, "why": _why_no_cls(vlm)})
    try:
        there += _text(text_attention(vlm.model, prompt)[:, content])
    except UsageError as error:
        absent.append({"label": "text-to-image attention", "why": str(error)})
    return TokenMaps(there, absent)


def answer_effect(vlm: VLM, prompt: Prompt) -> TokenMap:
    """How much the answer to the prompt's own question depends on the neighborhood of each token."""
    changed = ablation.ablate_global(vlm, prompt).divergence(jensen_shannon)
    about = f"{FIRST_WORD} {AMONG}"
    return TokenMap("effect", "effect on the answer", about, changed[~prompt.visual.is_break], is_log=True)


def experiment_maps(examined: Mapping[str, Tensor]) -> list[TokenMap]:
    """What the probe question brings to light; `examined` as by `examine`."""
    return [
        TokenMap(
            "confidence",
            "confidence",
            "probability of the likeliest word when the model sees this token alone",
            examined["confidence"],
        ),
        TokenMap(
            "certainty",
            "certainty",
            "one minus the entropy of that word over the whole vocabulary, as a share of its maximum",
            examined["certainty"],
        ),
        TokenMap(
            "regional",
            "regional divergence",
            f"{MOVED} the token is taken out of its 3x3 neighborhood, seen alone",
            examined["regional/jensen_shannon"],
            is_log=True,
        ),
        TokenMap(
            "global",
            "global divergence",
            f"{MOVED} {AMONG}",
            examined["global/jensen_shannon"],
            is_log=True,
        ),
    ]


def _cls(prompt: Prompt, content: Tensor) -> list[TokenMap]:
    """What the vision tower's [CLS] token makes of each, as far as it was collected."""
    told = {
        "cls_attention": (
            "[CLS] attention",
            "attention that [CLS] pays in the layer that is projected, mean over heads",
        ),
        "cls_similarity": (
            "[CLS] similarity",
            "cosine of the patch with [CLS] where the vision tower is projected",
        ),
    }
    nothing = torch.zeros(len(prompt.visual), device=content.device)
    return [
        TokenMap(name, *words, prompt.visual.signals.get(name, nothing)[content].float())
        for name, words in told.items()
    ]


def _why_no_cls(vlm: VLM) -> str:
    kind = vlm.model.config.model_type
    if vlm.family.tower(vlm.model):
        return f"the vision tower of {vlm.name} ({kind}) has no [CLS] token"
    return f"wordsight does not read signals of the vision tower of {vlm.name} ({kind})"


def _text(attention: Tensor) -> list[TokenMap]:
    """The layers of the attention (layers, N) that the last token of the prompt pays."""
    depth = len(attention)
    paid = "attention that the last token of your question's prompt pays, mean over heads"
    found = [
        TokenMap(
            "text_attention",
            f"text-to-image attention, mean of {depth} layers",
            f"{paid} and over all {depth} layers of the language model",
            attention.mean(0),
        )
    ]
    if depth > EARLY:
        label = f"text-to-image attention, layer {EARLY} of {depth}"
        about = f"{paid}, in layer {EARLY} of {depth}: what FastV prunes by"
        found.append(TokenMap("text_attention_early", label, about, attention[EARLY - 1]))
    return found
