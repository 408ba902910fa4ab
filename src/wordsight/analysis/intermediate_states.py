"""Analyze: do intermediate states tell which visual tokens say something? Asked of a model and of pictures.

"Beyond Intermediate States: Explaining Visual Redundancy through Language", https://arxiv.org/abs/2503.20540,
the section on intermediate states: tokens ordered by [CLS] similarity, [CLS] attention and text-to-image
attention, against what they say (probe.py) and what their absence changes (leave_one_out.py). Differs from
the authors' notebook: every picture is ordered by itself (ordering.py), and every token is examined.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from wordsight._utils.progress import track
from wordsight.analysis.picture_states import PictureStates, Record
from wordsight.analysis.prototypes import SURE, commonest
from wordsight.analysis.token_maps import CLS, TokenMap, TokenMaps, experiment_maps, intermediate_maps
from wordsight.errors import UsageError
from wordsight.evaluation.statistics import DIFFERENCES, SCORES, estimate
from wordsight.media.images import load_picture, readable
from wordsight.models.prompt import Prompt
from wordsight.models.vlm import VLM
from wordsight.redundancy.ablation import check_picture_map
from wordsight.redundancy.evidence import Evidence, collect_evidence, file_digest
from wordsight.redundancy.probe import QUESTION, decode_ids, probe_blind

SAID = ("confidence", "regional", "global")
ENOUGH = 10  # pictures: with fewer, a bootstrap interval is too narrow to conclude from
HARDLY = 0.05  # share of the tokens up to which hardly any say something
WORDS = 10


def analyze(
    vlm: VLM, pictures: Sequence[Path], folder: Path, *, question: str = QUESTION, sure: float = SURE
) -> Record:
    """The record of what intermediate states tell on these pictures; evidence is collected in `folder`, where
    a stopped run goes on.

    "spearman" and "tenths": every order against confidence and divergences. "halves": of the tokens that an
    order ranks lowest and highest in their picture, which share says a word with a confidence of `sure` or
    more, and what dropping them changes in the answer to `question`, beside as many random tokens. Every
    number is a mean over pictures with its interval, as by `bootstrap.estimate`.

    Raises UsageError if fewer than two different pictures can be read, the model has no order, or it is not
    known where its tokens are.
    """
    if not 0 < sure <= 1:
        raise UsageError(f"sure must be a probability in (0, 1], got {sure}")
    check_picture_map(vlm)
    good, set_aside = _distinct(pictures)
    there = _orders(vlm, _encoded(vlm, good[0], question)[0])
    evidence = collect_evidence(vlm, pictures, folder)
    numbers = [number for number, path in enumerate(pictures) if path in good]
    seen, dropped = [], []
    for number in track(numbers, "dropping tokens", len(numbers)):
        prompts = _encoded(vlm, pictures[number], question)
        seen.append(_states(vlm, evidence, number, prompts, pictures[number]))
        dropped.append(seen[-1].dropping(vlm, prompts[0]))
    blind = Counter(states.blind for states in seen)
    return {
        "model": vlm.name,
        "question": question,
        "probe_question": QUESTION,
        "pictures": [evidence.pictures[number] for number in numbers],
        "tokens": sum(len(states.words) for states in seen),
        "sure": sure,
        "rule": {"pictures": ENOUGH, "share": HARDLY},
        "blind": commonest(blind)[:WORDS],
        "orders": [_described(layer) for layer in there.there],
        "absent": there.absent,
        "said": [_described(layer) for layer in _said(evidence)],
        **_summary(seen, dropped, sure),
        "set_aside": set_aside,
    }


def _distinct(pictures: Sequence[Path]) -> tuple[list[Path], dict[str, str]]:
    """Those that can be read, the same one once, and why others are set aside. Raises UsageError if fewer
    than two are left.
    """
    readable_ones, set_aside = readable(pictures)
    firsts: dict[str, Path] = {}
    for path in readable_ones:
        first = firsts.setdefault(file_digest(path), path)
        if first != path:
            set_aside[str(path)] = f"the same file as {first}"
    good = list(firsts.values())
    if len(good) < 2:
        raise UsageError(
            f"expected at least two different pictures that can be read, got only {good[0]}: intervals are "
            "over pictures; give more"
        )
    return good, set_aside


def _summary(seen: Sequence[PictureStates], dropped: Sequence[Record], sure: float) -> Record:
    """The means over pictures, and what they support."""
    spearman = over_pictures([states.correlations() for states in seen], DIFFERENCES)
    tenths = over_pictures([states.tenths() for states in seen])
    saying = over_pictures([states.saying(sure) for states in seen])
    dropping = over_pictures(dropped)
    halves = {}
    for name in saying:
        words = sum((states.words_said(sure)[name] for states in seen), Counter[str]())
        tokens = [len(split.low) for states in seen if (split := states.split[name])]
        half = {"tokens": fmean(tokens) if tokens else 0.0, **saying[name], **dropping[name]}
        half["words"] = commonest(words)[:WORDS]
        halves[name] = half | {"conclusion": conclusion(half)}
    return {"spearman": spearman, "tenths": tenths, "halves": halves}


def conclusion(half: Record) -> Record:
    """What the intervals of a half support: "recognizable", whether its tokens carry recognizable
    information, "yes", "no" or "not told"; and whether they say words ("says") less or more often than the
    highest, and dropping them changes less or more ("divergence", "changed") than dropping random ones.
    """
    says, other = half["says"]["low"], half["says_other"]["low"]
    recognizable = "not told"
    if other["pictures"] >= ENOUGH and other["low"] is not None and other["low"] > HARDLY:
        recognizable = "yes"
    if says["pictures"] >= ENOUGH and says["high"] is not None and says["high"] < HARDLY:
        recognizable = "no"
    return {
        "recognizable": recognizable,
        "says": _direction(half["says"]["low_minus_high"]),
        "divergence": _direction(half["divergence"]["low_minus_random"]),
        "changed": _direction(half["changed"]["low_minus_random"]),
    }


def _direction(difference: Record) -> str:
    if difference["pictures"] < ENOUGH or difference["low"] is None:
        return "not told"
    if difference["high"] < 0:
        return "less"
    return "more" if difference["low"] > 0 else "not told"


def over_pictures(told: Sequence[Any], ends: tuple[float, float] = SCORES) -> Any:
    """The estimates of what is told of each picture: mappings and lists of one shape, with a number, or None,
    in every place. What lies between other `ends` is a difference, as is whatever is called "_minus_".
    """
    if isinstance(told[0], dict):
        between = {key: DIFFERENCES if "_minus_" in key else ends for key in told[0]}
        return {key: over_pictures([each[key] for each in told], between[key]) for key in told[0]}
    if isinstance(told[0], list):
        return [over_pictures(row, ends) for row in zip(*told, strict=True)]
    return estimate(told, ends)


def _orders(vlm: VLM, prompt: Prompt) -> TokenMaps:
    """The orders of a prompt's tokens. Raises UsageError if there is none."""
    found = intermediate_maps(vlm, prompt)
    if not found.there:
        reasons = "; ".join(f"{row['label']}: {row['why']}" for row in found.absent)
        raise UsageError(f"{vlm.name} has no intermediate state to order tokens by ({reasons})")
    return found


def _encoded(vlm: VLM, picture: Path, question: str) -> tuple[Prompt, Prompt]:
    """The prompts of the question, with the [CLS] signals that there are, and of the probe question."""
    shown = load_picture(picture)
    prompt = vlm.encode(shown, question, signals=CLS & vlm.signals)
    return prompt, vlm.encode(shown, QUESTION, visual=prompt.visual)


def _states(
    vlm: VLM, evidence: Evidence, number: int, prompts: tuple[Prompt, Prompt], picture: Path
) -> PictureStates:
    """What is known of the tokens of a picture. Raises UsageError if the evidence is of other tokens."""
    prompt, probed = prompts
    rows = evidence.image == number
    ordered = {layer.name: layer.values.cpu() for layer in _orders(vlm, prompt).there}
    if {len(order) for order in ordered.values()} != {int(rows.sum())}:
        raise UsageError(
            f"the evidence has {int(rows.sum())} tokens of {picture}, but the model makes another number; "
            "collect it again in another folder"
        )
    said = {layer.name: layer.values[rows] for layer in _said(evidence)}
    _check_finite(picture, ordered | said)
    words = [row[0] for row in decode_ids(vlm, evidence.words[rows, :1])]
    return PictureStates(ordered, said, words, probe_blind(vlm, probed).spelled[0][0])


def _check_finite(picture: Path, signals: Mapping[str, Tensor]) -> None:
    if broken := [name for name, values in signals.items() if not values.isfinite().all()]:
        raise UsageError(
            f"{broken[0]} of tokens of {picture} is NaN or infinite; is the checkpoint damaged, or its dtype "
            "too narrow? try bfloat16 or float32"
        )


def _described(layer: TokenMap) -> dict[str, str]:
    return {"name": layer.name, "label": layer.label, "about": layer.about}


def _said(evidence: Evidence) -> list[TokenMap]:
    return [layer for layer in experiment_maps(evidence.signals) if layer.name in SAID]
