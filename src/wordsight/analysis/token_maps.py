"""Token maps: the values of every token that a picture can be colored by, and why some are missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor
from typing_extensions import TypedDict

from wordsight._utils.numbers import rounded
from wordsight.algorithms.divergence import TOP, jensen_shannon
from wordsight.errors import UsageError
from wordsight.models.prompt import Prompt
from wordsight.models.text_attention import text_attention
from wordsight.models.vlm import VLM
from wordsight.redundancy import ablation
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.probe import NOISE_FLOOR

CLS = frozenset({"cls_attention", "cls_similarity"})
EARLY = 2  # the layer after which FastV prunes
NATS = "(Jensen-Shannon divergence in nats, at most 0.693)"
MOVED = f"how far the model's words move {NATS} when"
FIRST_WORD = f"how far the first word of the answer to your question moves {NATS} when"
AMONG = "the token's 3x3 neighborhood is taken out of everything that is seen"
TAIL = 0.02  # share of the tokens beyond each end of a color scale


class MapLabel(TypedDict):
    """What the values of a token map are called, and what they are."""

    name: str
    label: str
    about: Annotated[str, "what the values are"]


class MapLegend(MapLabel):
    """A token map without its values: what they are, and the color scale that shows them."""

    scale: Literal["linear", "log"]
    low: Annotated[float, "the lower end of the color scale; a few values may lie below it"]
    high: Annotated[float, "its upper end"]


class MissingMap(TypedDict):
    """A token map that there is not."""

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

    @property
    def described(self) -> MapLabel:
        """What the values are."""
        return {"name": self.name, "label": self.label, "about": self.about}

    def as_json(self) -> MapLegend:
        """All but the values, and the ends of its color scale."""
        low, high = self._ends()
        scale: Literal["linear", "log"] = "log" if self.is_log and low > 0 else "linear"
        return {**self.described, "scale": scale, "low": low, "high": high}

    def _ends(self) -> list[float]:
        """What all but a few tokens lie between."""
        ordered = self.values.float().sort().values
        last = len(ordered) - 1
        ends: list[float] = rounded(ordered[[round(TAIL * last), round((1 - TAIL) * last)]])
        return ends


@dataclass(frozen=True)
class TokenMaps:
    """Those that there are, and why others are missing."""

    maps: list[TokenMap]
    missing: list[MissingMap]


def token_maps(vlm: VLM, prompt: Prompt, measured: Mapping[str, Tensor], book: Codebook | None) -> TokenMaps:
    """The maps of a prompt that carries the [CLS] signals that the model has; `measured` as by
    `measure_tokens`.
    """
    maps, missing = experiment_maps(measured), list[MissingMap]()
    if book:
        about = f"highest cosine with one of {len(book.prototypes)} prototypes of the codebook"
        content = prompt.visual.embeds[~prompt.visual.is_break]
        maps.append(TokenMap("redundancy", "redundancy", about, book.redundancy(content)))
    else:
        missing.append({"label": "redundancy", "why": "no codebook was given; --codebook BOOK adds it"})
    intermediate = intermediate_maps(vlm, prompt)
    return TokenMaps(maps + intermediate.maps, missing + intermediate.missing)


def intermediate_maps(vlm: VLM, prompt: Prompt) -> TokenMaps:
    """The maps of intermediate states, by which other methods order tokens: [CLS] signals, as far as the
    prompt carries them, and text-to-image attention.
    """
    content = (~prompt.visual.is_break).nonzero()[:, 0]
    maps, missing = list[TokenMap](), list[MissingMap]()
    for cls_map in _cls(prompt, content):
        if cls_map.name in vlm.signals and "cls_similarity" in vlm.signals:
            maps.append(cls_map)
        else:
            missing.append({"label": cls_map.label, "why": _why_no_cls(vlm)})
    try:
        maps += _text(text_attention(vlm.model, prompt)[:, content])
    except UsageError as error:
        missing.append({"label": "text-to-image attention", "why": str(error)})
    return TokenMaps(maps, missing)


def answer_effect(vlm: VLM, prompt: Prompt) -> TokenMap:
    """How much the answer to the prompt's own question depends on the neighborhood of each token."""
    changed = ablation.ablate_global(vlm, prompt, top=TOP).divergence(jensen_shannon)
    about = f"{FIRST_WORD} {AMONG}"
    return TokenMap("effect", "effect on the answer", about, changed[~prompt.visual.is_break], is_log=True)


def experiment_maps(measured: Mapping[str, Tensor]) -> list[TokenMap]:
    """The maps of what tokens say and change under the probe question; `measured` as by `measure_tokens`."""
    return [
        TokenMap(
            "confidence",
            "confidence",
            "probability of the likeliest word when the model sees this token alone",
            measured["confidence"],
        ),
        TokenMap(
            "certainty",
            "certainty",
            "one minus the entropy of that word over the whole vocabulary, as a share of its maximum",
            measured["certainty"],
        ),
        TokenMap(
            "blind_divergence",
            "divergence from the blind answer",
            f"{MOVED} it sees this token alone, instead of none; below {NOISE_FLOOR} the token says nothing",
            measured["blind_divergence"],
            is_log=True,
        ),
        TokenMap(
            "regional",
            "regional divergence",
            f"{MOVED} the token is taken out of its 3x3 neighborhood, seen alone",
            measured["regional/jensen_shannon"],
            is_log=True,
        ),
        TokenMap(
            "global",
            "global divergence",
            f"{MOVED} {AMONG}",
            measured["global/jensen_shannon"],
            is_log=True,
        ),
    ]


def _cls(prompt: Prompt, content: Tensor) -> list[TokenMap]:
    """What the vision tower's [CLS] token makes of each, as far as it was collected."""
    words = {
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
        TokenMap(name, label, about, prompt.visual.signals.get(name, nothing)[content].float())
        for name, (label, about) in words.items()
    ]


def _why_no_cls(vlm: VLM) -> str:
    kind = vlm.model.config.model_type
    if vlm.family.tower(vlm.model):
        return f"the vision tower of {vlm.name} ({kind}) has no [CLS] token"
    return f"wordsight does not read signals of the vision tower of {vlm.name} ({kind})"


def _text(attention: Tensor) -> list[TokenMap]:
    """The maps of the attention (layers, N) that the last token of the prompt pays."""
    depth = len(attention)
    paid = "attention that the last token of your question's prompt pays, mean over heads"
    maps = [
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
        maps.append(TokenMap("text_attention_early", label, about, attention[EARLY - 1]))
    return maps
