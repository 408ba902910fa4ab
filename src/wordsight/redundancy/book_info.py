"""What a codebook says of itself, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wordsight._utils.numbers import counted, signed
from wordsight.redundancy.codebook_config import (
    Calibrated,
    ClusteringRecord,
    CodebookConfig,
    CodebookInfo,
    Counts,
    PatchesRecord,
    WeightAndQuality,
)
from wordsight.redundancy.criteria import ConditionRecord, Measure, QuantileRecord
from wordsight.redundancy.evidence_files import approximation
from wordsight.redundancy.experiments import TokenSignal

SIGNALS: dict[TokenSignal, str] = {
    "confidence": "confidence",
    "certainty": "certainty",
    "blind_divergence": "divergence from the blind answer",
    "questions": "highest confidence over all questions",
    "questions_divergence": "highest divergence from the blind answer over all questions",
}
MEASURES: dict[Measure, str] = {
    "jensen_shannon": "Jensen-Shannon",
    "released_divergence": "the measure of the authors' code",
}


def info_lines(info: CodebookInfo) -> list[str]:
    """What `info_rows` says, aligned."""
    rows = info_rows(info)
    width = max(len(name) for name, _ in rows)
    return [f"{name:{width}}  {text}" for name, text in rows]


def info_rows(info: CodebookInfo) -> list[tuple[str, str]]:
    """The model, the prototypes, how they were chosen, how well they prune and which versions made them, each
    with its name.
    """
    rows = [
        ("model", _model(info)),
        ("fingerprint", info["fingerprint"] or "unknown: any model of this width is accepted"),
        ("prototypes", f"{info['prototypes']} of width {info['width']}"),
        *_origin(info),
        *_building(info),
        *(_patches(info["patches"]) if "patches" in info else []),
        *(_quality(info["calibrated"]) if "calibrated" in info else []),
        *_listed("questions", info.get("questions", [])),
    ]
    if "versions" in info:
        rows.append(("versions", ", ".join(f"{name} {number}" for name, number in info["versions"].items())))
    return rows


def _model(config: CodebookConfig) -> str:
    """The model, with the revision that it was asked for in."""
    options = config["measured_with"].get("options", {}) if "measured_with" in config else {}
    revision = f", revision {options['revision']}" if "revision" in options else ""
    return f"{config['model']}{revision}"


def _patches(patches: PatchesRecord) -> list[tuple[str, str]]:
    """What the book shows of pictures."""
    return _listed(
        "patches",
        [
            f"{patches['side']} x {patches['side']} pixels and words of the token most like each prototype",
            f"in {counted(patches['pictures'], 'picture')}; cosine {patches['least_cosine']:.4f} or more",
        ],
    )


def _quality(quality: Calibrated) -> list[tuple[str, str]]:
    """How well a calibrated book prunes."""
    verdict = "pays" if quality["pays"] else "does not pay"
    keeps = ", ".join(f"{keep:.0%}" for keep in quality["keeps"])
    return _listed(
        "calibrated",
        [
            f"{verdict} on {counted(quality['questions'], 'question')} about "
            f"{counted(quality['pictures'], 'picture')} of {quality['task']}, mean over {keeps} of tokens",
            f"accuracy {quality['accuracy']:.3f}; with all visual tokens {quality['unpruned']:.3f}",
            *_differences(quality["difference_to"], quality["level"]),
            *(
                _beside(quality["beside_diversity"], quality["level"])
                if "beside_diversity" in quality
                else []
            ),
        ],
    )


def _beside(found: WeightAndQuality, level: float) -> list[str]:
    """The same beside diversity."""
    if not found["weight"]:
        return ["beside diversity no weight was better than divprune alone"]
    verdict = "pays" if found["pays"] else "does not pay (not all of what follows is above zero)"
    return [
        f"beside diversity it {verdict}: codebook_mmr, weight {found['weight']:g}, "
        f"accuracy {found['accuracy']:.3f}",
        *_differences(found["difference_to"], level),
    ]


def _differences(to: Mapping[str, list[float]], level: float) -> list[str]:
    return [f"minus {control} {signed(difference)}, at {level:.1%}" for control, difference in to.items()]


def _listed(name: str, texts: Iterable[str]) -> list[tuple[str, str]]:
    """Rows of which only the first is named."""
    return [("" if number else name, text) for number, text in enumerate(texts)]


def _origin(config: CodebookConfig) -> list[tuple[str, str]]:
    """The file or the larger books that a book comes from."""
    rows = [("imported from", config["imported_from"])] if "imported_from" in config else []
    for larger in config.get("compacted", []):
        text = f"from {counted(larger['prototypes'], 'prototype')}; one stays of those at a cosine of"
        rows.append(("compacted", f"{text} {larger['similarity']:g} or more"))
    return rows


def _building(config: CodebookConfig) -> list[tuple[str, str]]:
    """From what and how a book was built."""
    rows = []
    if "tokens" in (counts := config.get("counts", Counts())):
        rows.append(("built from", _counted(counts)))
    if isinstance(condition := config.get("condition"), str):
        rows.append(("condition", condition))
    elif condition:
        rows.append(("redundant if", _redundant(condition, config.get("thresholds"))))
    if "approximate_global" in config:
        rows.append(("global divergence", approximation(config["approximate_global"])))
    if "clustering" in config:
        rows += _listed("clustering", _clustered(config["clustering"]))
    if "pruning" in config:
        rows.append(
            ("authors prune", ", ".join(f"{name}={value}" for name, value in config["pruning"].items()))
        )
    return rows


def _counted(counts: Counts) -> str:
    text = f"{counted(counts['tokens'], 'token')} of {counted(counts['pictures'], 'picture')}"
    if "redundant" not in counts:
        return text
    small = f"{counts['redundant_in_small_clusters']} of them in small clusters"
    return f"{text}: {counts['redundant']} redundant, {small}"


def _redundant(condition: ConditionRecord, thresholds: ConditionRecord | None) -> str:
    """Which tokens are redundant, quantiles with the values that they were in the evidence."""
    values, halves = thresholds or condition, []
    if (threshold := condition["confidence"]) is not None:
        halves.append(f"{SIGNALS[condition['signal']]} below {_limit(threshold, values['confidence'])}")
    if (threshold := condition["divergence"]) is not None:
        halves.append(f"{_divergence(condition)} below {_limit(threshold, values['divergence'])}")
    return " and ".join(halves) or "always"


def _divergence(condition: ConditionRecord) -> str:
    """The weighted sum of both divergences."""
    weights = {"regional": condition["regional_weight"], "global": condition["global_weight"]}
    terms = [name if weight == 1 else f"{weight:g} x {name}" for name, weight in weights.items() if weight]
    return f"{' + '.join(terms) or 'no'} divergence ({MEASURES[condition['measure']]})"


def _limit(threshold: float | QuantileRecord, value: float | QuantileRecord | None) -> str:
    if not isinstance(threshold, Mapping):
        return f"{threshold:g}"
    quantile = f"the {threshold['quantile']:g} quantile"
    return quantile if value is None or isinstance(value, Mapping) else f"{value:.4g}, {quantile}"


def _clustered(clustering: ClusteringRecord) -> list[str]:
    return [
        f"{clustering['image_clusters']} clusters in each picture; those of more than "
        f"{counted(clustering['largest'], 'token')} are left out",
        f"{clustering['clusters']} clusters over all pictures; those in no more than "
        f"{counted(clustering['images'], 'picture')} are left out",
        f"{clustering['neighbors']} neighbors, distances scaled by {clustering['scale']}",
    ]
