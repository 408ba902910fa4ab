"""Pool the verdicts of all models as docs/findings.md lays down, and write its table of results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from wordsight.atomic import replacing
from wordsight.calibrate import KEEPS
from wordsight.condition import CRITERIA

HERE = Path(__file__).parent
RESULTS = HERE / "results"
FINDINGS = HERE.parent / "docs" / "findings.md"
BEGIN, END = "<!-- table: verdict -->\n", "<!-- end -->"
DRAWS = 20_000
DIVERSITY = "divprune (diversity, no quality)"
Scores = NDArray[np.float64]


def main() -> None:
    """Write results/verdict.json and the tables between the markers of docs/findings.md."""
    paths = sorted(RESULTS.glob("verdict_*.json"))
    records = [json.loads(path.read_text()) for path in paths]
    seeds = [load_file(path.with_suffix(".safetensors")) for path in paths]
    asked = records[0]["questions"]
    if any(record["questions"] != asked for record in records):
        raise SystemExit("the models were asked different questions")
    bootstrap = _bootstrap([picture for picture, _ in asked])
    scores = _pooled(seeds)
    families = {
        "codebook": ("codebook: ", ("random", "control codebooks")),
        "direct": ("direct: ", ("random", DIVERSITY)),
        "codebook_diversity": ("codebook + diversity: ", (DIVERSITY,)),
        "direct_diversity": ("direct + diversity: ", (DIVERSITY,)),
    }
    pooled: dict[str, Any] = {
        "models": len(seeds),
        "questions": len(asked),
        "accuracy": {name: float(values.mean()) for name, values in scores.items()},
        "by_keep": {
            f"{name} | {keep}": float(np.mean([seed[f"{name} | {keep}"].mean() for seed in seeds]))
            for name in sorted({label.split(" | ")[0] for label in seeds[0] if " | " in label})
            for keep in KEEPS
            if all(f"{name} | {keep}" in seed for seed in seeds)
        },
        "families": {
            family: _compare(scores, prefix, references, bootstrap)
            for family, (prefix, references) in families.items()
        },
        "true_objects_at_5_percent": float(
            np.mean([seed["true objects | 0.05"].mean() - seed["random | 0.05"].mean() for seed in seeds])
        ),
        "environments": [record["environment"] for record in records],
    }
    pooled["pays"] = [
        name
        for name, gaps in pooled["families"]["codebook"]["differences"].items()
        if all(low > 0 for _, low, _ in gaps.values())
    ]
    with replacing(RESULTS / "verdict.json") as draft:
        draft.write_text(json.dumps(pooled, indent=1) + "\n")
    _write(_tables(pooled))


def _pooled(seeds: list[dict[str, Scores]]) -> dict[str, Scores]:
    """Per method the score of every question: mean over keeps and models; only what every model has."""
    methods = {name.split(" | ")[0] for name in seeds[0]}
    pooled: dict[str, Scores] = {}
    for method in sorted(methods):
        columns = [
            [f"{method} | {keep}" for keep in KEEPS] if f"{method} | {KEEPS[0]}" in seed else [method]
            for seed in seeds
        ]
        if all(name in seed for seed, names in zip(seeds, columns, strict=True) for name in names):
            pooled[method] = np.mean(
                [seed[name] for seed, names in zip(seeds, columns, strict=True) for name in names], 0, float
            )
    controls = [values for name, values in pooled.items() if name.startswith("control codebook ")]
    return pooled | {"control codebooks": np.mean(controls, 0)}


def _bootstrap(pictures: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How often each picture is drawn (draws, pictures), and which picture each question is about."""
    names, index = np.unique(pictures, return_inverse=True)
    draws = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), DRAWS)
    return draws, index


def _compare(
    scores: dict[str, Scores],
    prefix: str,
    references: tuple[str, ...],
    bootstrap: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> dict[str, Any]:
    """Paired differences of every method of the family, with intervals corrected for all of them."""
    draws, index = bootstrap
    methods = [f"{prefix}{name}" for name in CRITERIA if f"{prefix}{name}" in scores]
    level = 1 - 0.05 / (len(methods) * len(references))
    counts = np.bincount(index)
    found: dict[str, dict[str, list[float]]] = {}
    for method in methods:
        found[method.removeprefix(prefix)] = {}
        for reference in references:
            gap = scores[method] - scores[reference]
            means = (draws @ np.bincount(index, weights=gap)) / (draws @ counts)
            low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
            found[method.removeprefix(prefix)][reference] = [float(gap.mean()), float(low), float(high)]
    return {"level": level, "differences": found}


def _tables(pooled: dict[str, Any]) -> str:
    """Markdown: the references, then every criterion four ways."""
    accuracy = pooled["accuracy"]
    plain = [
        "all visual tokens",
        "no visual tokens",
        "random",
        "uniform",
        "[CLS] attention",
        "control codebooks",
    ]
    plain += [DIVERSITY, "true objects", "book of another seed's model"]
    lines = ["| reference | accuracy |", "|---|---|"]
    lines += [f"| {name} | {accuracy[name]:.3f} |" for name in plain if name in accuracy]
    head = ["criterion"]
    for family, rows in pooled["families"].items():
        references = next(iter(rows["differences"].values()))
        head += [family.replace("_", " + "), *(f"minus {name.split(' (')[0]}" for name in references)]
    lines += ["", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    prefixes = ("codebook: ", "direct: ", "codebook + diversity: ", "direct + diversity: ")
    for name in CRITERIA:
        cells = [f"`{name}`"]
        for prefix, rows in zip(prefixes, pooled["families"].values(), strict=True):
            gaps = rows["differences"].get(name)
            width = 1 + len(next(iter(rows["differences"].values())))
            shown = (
                [f"{accuracy[prefix + name]:.3f}", *map(_gap, gaps.values())] if gaps else ["no prototype"]
            )
            cells += shown + [""] * (width - len(shown))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _gap(values: list[float]) -> str:
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*values)


def _write(tables: str) -> None:
    text = FINDINGS.read_text()
    before, found, rest = text.partition(BEGIN)
    if found:
        FINDINGS.write_text(before + found + tables + END + rest.partition(END)[2])
    else:
        print(tables)


if __name__ == "__main__":
    main()
