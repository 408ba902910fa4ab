"""Pool the verdicts of all models as docs/findings.md lays down, and write its tables of results."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from run import write_between
from wordsight._utils.files import replacing
from wordsight._utils.numbers import signed
from wordsight.evaluation.calibration import KEEPS
from wordsight.evaluation.statistics import clustered_mean, student_quantile
from wordsight.redundancy.criteria import CRITERIA

HERE = Path(__file__).parent
RESULTS = HERE / "results"
FINDINGS = HERE.parent / "docs" / "findings.md"
DRAWS = 20_000
MODELS = 3
REPEATS = 20  # of the bootstrap
WAYS = ("codebook", "direct", "codebook + diversity", "direct + diversity")
REFERENCES = ("all visual tokens", "no visual tokens", "random", "uniform", "[CLS] attention", "divprune")
FAMILIES = {
    "codebooks": [(f"codebook: {c}", other) for c in CRITERIA for other in ("random", f"control: {c}")],
    "probes": [(f"direct: {c}", other) for c in CRITERIA for other in ("random", "divprune")],
    "with diversity": [(f"{way}: {c}", "divprune") for c in CRITERIA for way in WAYS[2:]],
}
Scores = NDArray[np.float64]
Gaps = dict[str, dict[str, list[float]]]  # method -> reference -> difference, low, high


def main() -> None:
    """Write results/verdict.json and the tables between the markers of docs/findings.md."""
    paths = sorted(RESULTS.glob("verdict_*.json"))
    records = [json.loads(path.read_text()) for path in paths]
    if len({record["environment"]["fingerprint"] for record in records}) != MODELS:
        raise SystemExit(f"expected the verdicts of {MODELS} different models, got {len(records)}")
    asked = records[0]["questions"]
    if any(record["questions"] != asked for record in records):
        raise SystemExit("the models were asked different questions")
    seeds = [load_file(path.with_suffix(".safetensors")) for path in paths]
    scores = pooled(seeds)
    names, index = np.unique([picture for picture, _ in asked], return_inverse=True)
    draws = resamples(len(names), 0)
    measured = {
        family: [pair for pair in pairs if set(pair) <= set(scores)] for family, pairs in FAMILIES.items()
    }
    families = {family: compared(scores, pairs, draws, index) for family, pairs in measured.items()}
    every = [pair for pairs in measured.values() for pair in pairs]
    validation = {
        name: float(np.mean([r["validation"][r["chosen_on_validation"][name]] for r in records]))
        for name in CRITERIA
        if all(name in record["chosen_on_validation"] for record in records)
    }
    gate = [float((seed["true objects | 0.05"] - seed["random | 0.05"]).mean()) for seed in seeds]
    verdict: dict[str, Any] = {
        "accuracy": {name: float(values.mean()) for name, values in scores.items()},
        "by_keep": _by_keep(seeds),
        "differences": families,
        "pays": [
            name
            for name in CRITERIA
            if (gaps := families["codebooks"].get(f"codebook: {name}"))
            and all(low > 0 for _, low, _ in gaps.values())
        ],
        "validation": validation,
        "default": max(validation, key=validation.__getitem__),
        "true_objects_minus_random_at_5_percent": gate,
        "gate_passes": min(gate) >= 0,
        "questions": len(asked),
        "pictures": len(names),
        "comparisons": len(every),
        "differences_corrected_for_all": compared(scores, every, draws, index),
        "errors": {
            method: {other: errors(seeds, (method, other), index) for one, other in every if one == method}
            for method, _ in every
        },
        "decided_by_draws": decided_by_draws(scores, measured, index),
        "environments": [record["environment"] for record in records],
    }
    with replacing(RESULTS / "verdict.json") as draft:
        draft.write_text(json.dumps(verdict, indent=1) + "\n")
    write_between(FINDINGS, "verdict", tables(verdict))


def pooled(seeds: list[dict[str, Scores]]) -> dict[str, Scores]:
    """Per method the score of every question: mean over keeps and models; only what every model has."""
    shared = set.intersection(*(set(seed) for seed in seeds))
    parts: dict[str, list[Scores]] = {}
    for name in sorted(shared):
        parts.setdefault(name.split(" | ")[0], []).extend(seed[name] for seed in seeds)
    return {method: np.mean(values, 0, float) for method, values in parts.items()}


def compared(
    scores: dict[str, Scores],
    pairs: list[tuple[str, str]],
    draws: NDArray[np.int64],
    index: NDArray[np.int64],
) -> Gaps:
    """Paired differences with bootstrap intervals over pictures, Bonferroni-corrected for all `pairs`."""
    tail = 0.05 / max(1, len(pairs)) / 2
    gaps: Gaps = {}
    for method, reference in pairs:
        gap = scores[method] - scores[reference]
        means = (draws @ np.bincount(index, weights=gap)) / (draws @ np.bincount(index))
        low, high = np.quantile(means, [tail, 1 - tail])
        gaps.setdefault(method, {})[reference] = [float(gap.mean()), float(low), float(high)]
    return gaps


def resamples(pictures: int, seed: int) -> NDArray[np.int64]:
    """(DRAWS, pictures) how often each picture is drawn."""
    return np.random.default_rng(seed).multinomial(pictures, np.full(pictures, 1 / pictures), DRAWS)


def errors(
    seeds: list[dict[str, Scores]], pair: tuple[str, str], index: NDArray[np.int64], level: float = 0.95
) -> dict[str, Any]:
    """The difference of each model, its standard error over pictures with these models and over models with
    these pictures, and its interval if both are drawn, at a level that corrects for nothing of its own.
    """
    method, other = pair
    each = [pooled([seed]) for seed in seeds]
    gaps = np.array([scores[method] - scores[other] for scores in each])  # (models, questions)
    by_model, count = gaps.mean(1).tolist(), len(seeds)
    mean = clustered_mean(gaps.mean(0), index)
    over_models = float(np.std(by_model, ddof=1) / math.sqrt(count))
    error = math.hypot(mean.error, over_models)
    degrees = error**4 / (mean.error**4 / (mean.pictures - 1) + over_models**4 / (count - 1))
    reach = student_quantile(level, int(degrees)) * error
    return {
        "by_model": by_model,
        "over_pictures": mean.error,
        "over_models": over_models,
        "both_drawn": [mean.value, mean.value - reach, mean.value + reach],
    }


def decided_by_draws(
    scores: dict[str, Scores], families: dict[str, list[tuple[str, str]]], index: NDArray[np.int64]
) -> dict[str, list[str]]:
    """By family the comparisons whose interval includes zero or not, as the draws of the bootstrap fall."""
    found: dict[str, list[str]] = {}
    for family, pairs in families.items():
        zero = Counter[str]()
        for seed in range(REPEATS):
            gaps = compared(scores, pairs, resamples(1 + int(max(index)), seed), index)
            for method, other in pairs:
                _, low, high = gaps[method][other]
                zero[f"{method} - {other}"] += low <= 0 <= high
        found[family] = [name for name, count in zero.items() if 0 < count < REPEATS]
    return found


def tables(verdict: dict[str, Any]) -> str:
    """Markdown: the references, then every criterion in its four ways."""
    accuracy = verdict["accuracy"]
    names = [*REFERENCES, "true objects", "book of another seed's model"]
    lines = ["| reference | accuracy |", "|---|---|"]
    lines += [f"| {name} | {accuracy[name]:.3f} |" for name in names if name in accuracy]
    gaps = {method: own for family in verdict["differences"].values() for method, own in family.items()}
    head = ["criterion", "codebook", "- random", "- control", "probe", "- random", "- divprune"]
    head += ["codebook + diversity", "- divprune", "probe + diversity", "- divprune"]
    lines += ["", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name in CRITERIA:
        cells = [f"`{name}`"]
        for way, count in zip(WAYS, (2, 2, 1, 1), strict=True):
            if own := gaps.get(f"{way}: {name}"):
                cells += [f"{accuracy[f'{way}: {name}']:.3f}", *map(signed, own.values())]
            else:
                cells += ["no prototype", *[""] * count]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _by_keep(seeds: list[dict[str, Scores]]) -> dict[str, dict[str, float]]:
    means: dict[str, dict[str, float]] = {}
    for name in sorted(set.intersection(*(set(seed) for seed in seeds))):
        method, _, keep = name.partition(" | ")
        if keep in map(str, KEEPS):
            means.setdefault(method, {})[keep] = float(np.mean([seed[name].mean() for seed in seeds]))
    return means


if __name__ == "__main__":
    main()
