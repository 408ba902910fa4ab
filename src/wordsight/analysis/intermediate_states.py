"""Intermediate states: do they tell which visual tokens say something? Asked of a model and of pictures.

"Beyond Intermediate States: Explaining Visual Redundancy through Language", https://arxiv.org/abs/2503.20540,
the section on intermediate states: tokens ordered by [CLS] similarity, [CLS] attention and text-to-image
attention, against what they say (redundancy/probe.py) and what their absence changes
(redundancy/ablation.py). Differs from the authors' notebook: every picture is ordered by itself
(algorithms/ranking.py), and every token is examined.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal

from PIL.Image import Image
from typing_extensions import TypedDict

from wordsight._utils.numbers import counted
from wordsight._utils.progress import track
from wordsight.analysis.picture_states import ByMeasure, PictureStates
from wordsight.analysis.prototypes import CONFIDENT, check_confidence, commonest
from wordsight.analysis.token_maps import (
    CLS,
    MapLabel,
    MissingMap,
    TokenMap,
    TokenMaps,
    experiment_maps,
    intermediate_maps,
)
from wordsight.errors import FileError, MediaError, ModelError
from wordsight.evaluation.environment import Environment, environment
from wordsight.evaluation.statistics import (
    DIFFERENCES,
    FEWEST_PICTURES,
    SCORES,
    Estimate,
    estimate,
    tell_if_few,
)
from wordsight.media.picture_files import PictureFile, label, picture_file
from wordsight.models.finite import check_finite
from wordsight.models.prompt import Prompt
from wordsight.models.vlm import VLM
from wordsight.redundancy.ablation import check_picture_map
from wordsight.redundancy.collecting import EvidencePlan, collect_evidence
from wordsight.redundancy.criteria import Condition
from wordsight.redundancy.evidence import Evidence
from wordsight.redundancy.examining import open_unchanged
from wordsight.redundancy.probe import QUESTION, decode_ids, probe_blind

FORMAT = 1
MEASURES = ("confidence", "regional", "global")
NEGLIGIBLE = 0.05  # share of the tokens up to which hardly any say something
WORDS = 10
Direction = Literal["less", "more", "inconclusive"]


class Rule(TypedDict):
    """What a conclusion takes."""

    pictures: Annotated[int, "at least"]
    share: Annotated[float, "of tokens that say something, above which information is found"]


class SplitShares(TypedDict):
    """A share of the lowest tokens of an order, and of as many highest ones."""

    low: Estimate
    high: Estimate
    low_minus_high: Estimate


class DropEffects(TypedDict):
    """What dropping the lowest tokens of an order changes, beside as many random and as many highest ones."""

    low: Estimate
    random: Estimate
    high: Estimate
    low_minus_random: Estimate
    high_minus_random: Estimate


class SplitMeasures(TypedDict):
    """What the lowest and the highest tokens of an order say, and what dropping them changes."""

    tokens: Annotated[float, "of a picture that are lowest, on average"]
    says: Annotated[SplitShares, "that say a word surely"]
    says_other: Annotated[SplitShares, "that surely say another word than is said without a picture"]
    divergence: Annotated[DropEffects, "of the first word of the answer, in nats"]
    changed: Annotated[DropEffects, "share of the pictures with another answer"]


class Conclusion(TypedDict):
    """What the intervals support."""

    recognizable: Annotated[
        Literal["yes", "no", "inconclusive"], "whether the lowest tokens carry recognizable information"
    ]
    says: Annotated[Direction, "how often the lowest tokens say a word, beside the highest"]
    divergence: Annotated[Direction, "what dropping them changes, beside random tokens"]
    changed: Annotated[Direction, "the same of the answer"]


class Half(SplitMeasures):
    """What is known of the lowest and the highest tokens of an order."""

    words: Annotated[list[tuple[str, int]], "that the lowest tokens say surely, with how many say each"]
    conclusion: Conclusion


class Summary(TypedDict):
    """Means over pictures by order, and what they support."""

    spearman: Annotated[dict[str, dict[str, Estimate]], "rho by order and measure"]
    tenths: Annotated[
        dict[str, dict[str, list[Estimate]]], "the mean of a measure in every tenth of the ordered tokens"
    ]
    halves: Annotated[dict[str, Half], "by order, and `all` for the tokens that every order ranks low"]


class Analysis(Summary):
    """What `wordsight analyze` finds: whether intermediate states tell which tokens say something."""

    format: int
    model: str
    question: Annotated[str, "that is answered, and that attention is of"]
    probe_question: Annotated[str, "that every token is asked alone"]
    pictures: list[str]
    tokens: int
    sure: Annotated[float, "the confidence from which a word is said surely"]
    rule: Rule
    blind: Annotated[
        list[tuple[str, int]], "the words without a picture, with how many pictures' prompts say each"
    ]
    orders: list[MapLabel]
    absent: Annotated[list[MissingMap], "the orders that the model has not"]
    measures: Annotated[list[MapLabel], "what the orders are compared with"]
    skipped: Annotated[dict[str, str], "the pictures that are left out, and why"]
    environment: Environment


def analyze(
    vlm: VLM,
    pictures: Iterable[Path | PictureFile],
    folder: Path,
    *,
    question: str = QUESTION,
    sure: float = CONFIDENT,
) -> Analysis:
    """What intermediate states tell on these pictures; evidence is collected in `folder`, where a stopped run
    goes on.

    "spearman" and "tenths": every order against confidence and divergences. "halves": of the tokens that an
    order ranks lowest and highest in their picture, which share says a word with a confidence of `sure` or
    more, and what dropping them changes in the answer to `question`, beside as many random tokens. Every
    number is a mean over pictures with its interval, as by `statistics.estimate`.

    Raises MediaError if fewer than two different pictures can be read, ModelError if the model has no order
    or it is not known where its tokens are, and FileError if the evidence is of other pictures or tokens.
    """
    check_confidence(sure)
    check_picture_map(vlm)
    files = [picture_file(picture) for picture in pictures]
    good, skipped = _distinct(files)
    orders = _orders(vlm, _encoded(vlm, open_unchanged(good[0])[0], question)[0])
    tell_if_few(len(good), "analyze")
    # Both halves read all that is compared: what the first question is answered, and both ablations.
    plan = EvidencePlan(condition=Condition(), only_survivors=None, approximate_global=None)
    evidence = collect_evidence(vlm, files, folder, plan)
    numbers = [number for number, picture in enumerate(files) if picture in good]
    states, dropped = [], []
    for number in track(numbers, "dropping tokens", len(numbers)):
        picture, _ = open_unchanged(files[number], [evidence.sha256[number]])
        prompts = _encoded(vlm, picture, question)
        states.append(_states(vlm, evidence, number, prompts, label(files[number])))
        dropped.append(states[-1].dropping(vlm, prompts[0]))
    blind = Counter(each.blind for each in states)
    return {
        "format": FORMAT,
        "model": vlm.name,
        "question": question,
        "probe_question": QUESTION,
        "pictures": [evidence.pictures[number] for number in numbers],
        "tokens": sum(len(each.words) for each in states),
        "sure": sure,
        "rule": {"pictures": FEWEST_PICTURES, "share": NEGLIGIBLE},
        "blind": commonest(blind)[:WORDS],
        "orders": [order.described for order in orders.maps],
        "absent": orders.missing,
        "measures": [measure.described for measure in _measures(evidence)],
        **_summary(states, dropped, sure),
        "skipped": skipped,
        "environment": environment(vlm),
    }


def conclusion(half: SplitMeasures) -> Conclusion:
    """What the intervals support: "recognizable", whether the lowest tokens carry recognizable information;
    whether they say words ("says") less or more often than the highest; and whether dropping them changes
    less or more ("divergence", "changed") than dropping random ones.
    """
    says, other = half["says"]["low"], half["says_other"]["low"]
    recognizable: Literal["yes", "no", "inconclusive"] = "inconclusive"
    if other["pictures"] >= FEWEST_PICTURES and other["low"] is not None and other["low"] > NEGLIGIBLE:
        recognizable = "yes"
    if says["pictures"] >= FEWEST_PICTURES and says["high"] is not None and says["high"] < NEGLIGIBLE:
        recognizable = "no"
    return {
        "recognizable": recognizable,
        "says": _direction(half["says"]["low_minus_high"]),
        "divergence": _direction(half["divergence"]["low_minus_random"]),
        "changed": _direction(half["changed"]["low_minus_random"]),
    }


def over_pictures(values: Sequence[Any], ends: tuple[float, float] = SCORES) -> Any:
    """The estimates of the values of all pictures: mappings and lists of one shape, with a number, or None,
    in every place. What lies between other `ends` is a difference, as is whatever is called "_minus_".
    """
    if isinstance(values[0], dict):
        between = {key: DIFFERENCES if "_minus_" in key else ends for key in values[0]}
        return {key: over_pictures([each[key] for each in values], between[key]) for key in values[0]}
    if isinstance(values[0], list):
        return [over_pictures(row, ends) for row in zip(*values, strict=True)]
    return estimate(values, ends)


def _distinct(pictures: Sequence[PictureFile]) -> tuple[list[PictureFile], dict[str, str]]:
    """Those that can be read, the same one once, and why others are skipped. Raises MediaError if fewer than
    two are left.
    """
    firsts: dict[str, PictureFile] = {}
    skipped: dict[str, str] = {}
    for picture in pictures:
        try:
            _, digest = open_unchanged(picture)
        except MediaError as error:
            skipped[label(picture)] = str(error)
            continue
        if (first := firsts.setdefault(digest, picture)) is not picture:
            skipped[label(picture)] = f"the same file as {label(first)}"
    good = list(firsts.values())
    if not good:
        reason = next(iter(skipped.values()), "there is none")
        raise MediaError(f"none of {counted(len(pictures), 'picture')} can be read: {reason}")
    if len(good) < 2:
        raise MediaError(
            f"expected at least two different pictures that can be read, got only {label(good[0])}: "
            "intervals are over pictures; give more"
        )
    return good, skipped


def _orders(vlm: VLM, prompt: Prompt) -> TokenMaps:
    """The orders of a prompt's tokens. Raises ModelError if there is none."""
    orders = intermediate_maps(vlm, prompt)
    if not orders.maps:
        reasons = "; ".join(f"{order['label']}: {order['why']}" for order in orders.missing)
        raise ModelError(f"{vlm.name} has no intermediate state to order tokens by ({reasons})")
    return orders


def _encoded(vlm: VLM, picture: Image, question: str) -> tuple[Prompt, Prompt]:
    """The prompts of the question, with the [CLS] signals that there are, and of the probe question."""
    prompt = vlm.encode(picture, question, signals=CLS & vlm.signals)
    return prompt, vlm.encode(picture, QUESTION, visual=prompt.visual)


def _states(
    vlm: VLM, evidence: Evidence, number: int, prompts: tuple[Prompt, Prompt], picture: str
) -> PictureStates:
    """What is known of the tokens of a picture. Raises FileError if the evidence is of other tokens."""
    prompt, probed = prompts
    rows = evidence.image == number
    if not rows.any():
        raise MediaError(
            f"{picture} could not be read when its evidence was collected; run the same command again"
        )
    orders = {order.name: order.values.cpu() for order in _orders(vlm, prompt).maps}
    if {len(order) for order in orders.values()} != {int(rows.sum())}:
        raise FileError(
            f"the evidence has {int(rows.sum())} tokens of {picture}, but the model makes another number; "
            "collect it again in another folder"
        )
    measures = {measure.name: measure.values[rows] for measure in _measures(evidence)}
    check_finite(f"the tokens of {picture}", orders | measures)
    likeliest = decode_ids(vlm, evidence.words[rows][:, :1])
    silent = evidence.says_nothing[rows].tolist()
    words = [None if nothing else word for (word,), nothing in zip(likeliest, silent, strict=True)]
    return PictureStates(orders, measures, words, probe_blind(vlm, probed).spelled[0][0])


def _measures(evidence: Evidence) -> list[TokenMap]:
    measures = [measure for measure in experiment_maps(evidence.signals) if measure.name in MEASURES]
    return [
        replace(measure, label=f"{measure.label} (approximate)")
        if evidence.is_approximate and measure.name == "global"
        else measure
        for measure in measures
    ]


def _summary(
    states: Sequence[PictureStates], dropped: Sequence[dict[str, ByMeasure]], sure: float
) -> Summary:
    spearman: dict[str, dict[str, Estimate]] = over_pictures(
        [each.correlations() for each in states], DIFFERENCES
    )
    tenths: dict[str, dict[str, list[Estimate]]] = over_pictures([each.tenths() for each in states])
    saying: dict[str, dict[str, SplitShares]] = over_pictures([each.saying(sure) for each in states])
    dropping: dict[str, dict[str, DropEffects]] = over_pictures(dropped)
    halves: dict[str, Half] = {}
    for name in saying:
        words = sum((each.low_words(sure)[name] for each in states), Counter[str]())
        tokens = [len(split.low) for each in states if (split := each.split[name])]
        measures: SplitMeasures = {
            "tokens": fmean(tokens) if tokens else 0.0,
            "says": saying[name]["says"],
            "says_other": saying[name]["says_other"],
            "divergence": dropping[name]["divergence"],
            "changed": dropping[name]["changed"],
        }
        halves[name] = {**measures, "words": commonest(words)[:WORDS], "conclusion": conclusion(measures)}
    return {"spearman": spearman, "tenths": tenths, "halves": halves}


def _direction(difference: Estimate) -> Direction:
    low, high = difference["low"], difference["high"]
    if difference["pictures"] < FEWEST_PICTURES or low is None or high is None:
        return "inconclusive"
    if high < 0:
        return "less"
    return "more" if low > 0 else "inconclusive"
