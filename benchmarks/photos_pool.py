"""Pool the verdicts on real photos as docs/findings.md lays down, and write its tables of results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from safetensors.numpy import load_file
from torch import Tensor

from pool import FINDINGS, Scores, errors, pooled
from run import write_between
from wordsight._utils.files import replacing
from wordsight._utils.numbers import signed
from wordsight.algorithms.ranking import correlation
from wordsight.evaluation.calibration import KEEPS
from wordsight.evaluation.statistics import DIFFERENCES, interval
from wordsight.redundancy.criteria import CRITERIA

RESULTS = Path(__file__).parent / "results"
MODELS = ("a-0", "a-1", "a-2", "b-0", "b-1", "b-2", "c-0", "d-0")
PROBE, WHOLE = f"probe: confidence | {KEEPS[1]}", "all visual tokens"
PAYS = ("book", "control")
OF_SEEDS = (  # concluded for recipes (a) and (b)
    PAYS,
    ("book", "random"),
    ("book", "divprune"),
    ("clustered", "clustered control"),
    ("scorer", "book"),
    (PROBE, WHOLE),
)
CONCLUDED = 2 * len(OF_SEEDS) + 5  # and: (b) minus (a), (c), (d), and both predictors
METHODS = (WHOLE, "no visual tokens", "random", "uniform", "[CLS] attention", "divprune", "book", "control")
METHODS += ("clustered", "clustered control", "scorer", "probe: confidence", "probe: blind_divergence")
METHODS += ("probe: all that say something",)
Model = dict[str, Any]  # the record of a model, with its "scores"
Rows = Sequence[Sequence[str]]


def main(
    results: Annotated[Path, typer.Option(help="the folder of the records")] = RESULTS,
    split: Annotated[str, typer.Option(help="validation prints the tables and writes nothing")] = "test",
) -> None:
    """Write results/photos_verdict.json and the tables between the markers of docs/findings.md."""
    models = {name: model for name in MODELS if (model := _read(results, name, split))}
    if split == "test" and len(models) < len(MODELS):
        raise SystemExit(f"expected the records of {', '.join(MODELS)}, got {', '.join(models) or 'none'}")
    if len({tuple(model["photos"]) for model in models.values()}) > 1:
        raise SystemExit("the models were shown different photos")
    pairs = conclusions(models)
    verdict: dict[str, Any] = {
        "photos": len(next(iter(models.values()))["photos"]),
        "concluded": CONCLUDED,
        "level": 1 - 0.05 / CONCLUDED,
        "accuracy": {name: accuracy(model) for name, model in models.items()},
        "differences": pairs,
        "predictors": predictors(models),
        "environments": [model["environment"] for model in models.values()],
    }
    sizes = _read(results, "b-0", "validation") or {}
    tables = {
        "photos accuracy": accuracies(models),
        "photos conclusions": concluded(pairs, verdict["predictors"]),
        "photos models": by_model(models),
        "photos criteria": criteria(models),
        "photos pruners": every_pruner(models),
        "photos sizes": book_sizes(sizes),
    }
    if split != "test":
        print("\n".join(f"{name}\n{table}" for name, table in tables.items()))
        return
    with replacing(results / "photos_verdict.json") as draft:
        draft.write_text(json.dumps(verdict, indent=1) + "\n")
    for name, table in tables.items():
        write_between(FINDINGS, name, table)


def _read(results: Path, name: str, split: str) -> Model | None:
    path = results / f"photos_{name}_{split}.json"
    if not path.exists():
        return None
    scores = load_file(path.with_suffix(".safetensors"))
    return {**json.loads(path.read_text()), "scores": {label: s.astype(float) for label, s in scores.items()}}


def pair_of(model: Model, pair: tuple[str, str]) -> dict[str, Scores]:
    """The scores of two methods, mean over keeps where none is named, of the photos that both have."""
    found = {}
    for label in pair:
        known = model["scores"]
        found[label.replace(" | ", " at ")] = (
            known[label] if label in known else np.mean([known[f"{label} | {keep}"] for keep in KEEPS], 0)
        )
    count = min(map(len, found.values()))
    return {label: scores[:count] for label, scores in found.items()}


def conclusions(models: dict[str, Model]) -> dict[str, Any]:
    """Every difference that something is concluded from, with an interval corrected for all of them."""
    level = 1 - 0.05 / CONCLUDED
    found: dict[str, Any] = {}
    gaps: dict[str, list[Scores]] = {}
    for recipe in "abcd":
        own = [model for name, model in models.items() if name[0] == recipe]
        for pair in OF_SEEDS if recipe in "ab" else (PAYS,):
            seeds = [pair_of(model, pair) for model in own if has(model, pair)]
            if seeds:
                found[f"({recipe}) {pair[0]} - {pair[1]}".replace(" | ", " at ")] = over_seeds(seeds, level)
            if pair == PAYS:
                gaps[recipe] = [seed["book"] - seed["control"] for seed in seeds]
    both = [{"b": b, "a": a} for b, a in zip(gaps["b"], gaps["a"], strict=False)]
    if both:
        found["book - control: (b) - (a)"] = over_seeds(both, level)
    return found


def has(model: Model, pair: tuple[str, str]) -> bool:
    """Whether both methods were measured; validation may have left a model without clustered book."""
    return all(label in model["scores"] or f"{label} | {KEEPS[0]}" in model["scores"] for label in pair)


def over_seeds(seeds: list[dict[str, Scores]], level: float) -> dict[str, Any]:
    """The mean difference and its interval: models and photos drawn; photos alone if there is one model, or
    no photo differs from another.
    """
    first, second = seeds[0]
    gap = np.mean([seed[first] - seed[second] for seed in seeds], 0)
    record = {"models": len(seeds), "photos": len(gap)}
    if len(seeds) > 1 and np.ptp(gap) > 0:
        found = errors(seeds, (first, second), np.arange(len(gap)), level)
        return {**found, "interval": found.pop("both_drawn"), **record}
    ends = interval(gap, [str(i) for i in range(len(gap))], level, ends=DIFFERENCES)
    return {"interval": [float(gap.mean()), *ends], **record}


def predictors(models: dict[str, Model]) -> dict[str, dict[str, float | None]]:
    """Whether the share of silent tokens, and the median blind divergence, go with what a book gains, over
    models: Spearman's rho, and the share of all orders of the models that have one as far from nothing.
    """
    gains = torch.tensor([gain(model) for model in models.values()])
    median = [model["main"]["blind_divergence"]["training"]["deciles"][4] for model in models.values()]
    known = {
        "silent tokens": [silence(model) for model in models.values()],
        "median blind divergence": median,
    }
    return {name: _correlated(torch.tensor(values), gains) for name, values in known.items()}


def _correlated(values: Tensor, gains: Tensor) -> dict[str, float | None]:
    found = correlation(values, gains) if len(gains) > 2 else None
    if found is None:  # too few models, or all are alike
        return {"rho": None, "p": None}
    orders = [correlation(values, torch.stack(order)) or 0.0 for order in permutations(gains)]
    return {"rho": found, "p": float(np.mean([abs(rho) >= abs(found) - 1e-9 for rho in orders]))}


def silence(model: Model) -> float:
    """The share of tokens of training photos that say nothing."""
    share: float = model["main"]["blind_divergence"]["training"]["silent"]
    return share


def gain(model: Model) -> float:
    """What the book is above its control."""
    pair = pair_of(model, PAYS)
    return float((pair["book"] - pair["control"]).mean())


def accuracy(model: Model) -> dict[str, float]:
    """Of every method, mean over keeps."""
    return {method: float(values.mean()) for method, values in _by_length(model).items()}


def _by_length(model: Model) -> dict[str, Scores]:
    return pooled([model["scores"]])


def accuracies(models: dict[str, Model]) -> str:
    """Every method of every recipe, mean over models and keeps."""
    of = {recipe: [accuracy(m) for name, m in models.items() if name[0] == recipe] for recipe in "abcd"}
    head = ["method", *(f"({recipe})" for recipe in of)]
    body = [
        [method, *(_mean([each.get(method) for each in own]) for own in of.values())] for method in METHODS
    ]
    return markdown(head, body)


def _mean(values: list[float | None]) -> str:
    there = [value for value in values if value is not None]
    return f"{np.mean(there):.3f}" if there else ""


def concluded(pairs: dict[str, Any], predicted: dict[str, dict[str, float | None]]) -> str:
    """The differences with their intervals, and what predicts that a book pays."""
    head = ["difference", "models, photos", "corrected interval", "by model"]
    body = [
        [
            name,
            f"{pair['models']}, {pair['photos']}",
            signed(pair["interval"]),
            ", ".join(f"{value:+.3f}" for value in pair.get("by_model", [])),
        ]
        for name, pair in pairs.items()
    ]
    for name, one in predicted.items():
        said = "all alike" if one["rho"] is None else f"rho {one['rho']:+.2f}, p {one['p']:.4f}"
        body.append([f"{name} and book - control, over models", "", said, ""])
    return markdown(head, body)


def by_model(models: dict[str, Model]) -> str:
    """How silent every model's tokens are, what its book gains, and how well silent tokens, if there are
    any, and the half that says least are told.
    """
    kinds = ("book", "clustered", "control", "scorer", "[CLS] attention")
    head = ["model", "silent tokens", "book - control", "chosen", *(f"AUROC, {kind}" for kind in kinds)]
    body = []
    for name, model in models.items():
        told = model["main"]["auroc"].values()
        row = [name, f"{silence(model):.1%}", f"{gain(model):+.3f}", "; ".join(model["chosen"].values())]
        body.append(
            [*row, *(", ".join(f"{each[kind]:.3f}" for each in told if kind in each) for kind in kinds)]
        )
    return markdown(head, body)


def criteria(models: dict[str, Model]) -> str:
    """Books of every criterion, all as large, minus one of as many random tokens; 95 %, nothing concluded."""
    return _against(models, [f"criterion: {name}" for name in CRITERIA], "criterion: none")


def every_pruner(models: dict[str, Model]) -> str:
    """Every pruner minus random tokens at one keep; 95 %, nothing concluded."""
    labels = {label for model in models.values() for label in model["scores"] if label.startswith("pruner: ")}
    names = sorted(label.partition(" | ")[0] for label in labels)
    return _against(models, names, "pruner: random")


def _against(models: dict[str, Model], labels: list[str], reference: str) -> str:
    own = {name: model for name, model in models.items() if reference in pooled([model["scores"]])}
    head = [reference.partition(":")[0], *(f"{name}, minus {reference.split(': ')[1]}" for name in own)]
    body = []
    for label in labels:
        row = [f"`{label.split(': ')[1]}`"]
        for model in own.values():
            scores = pooled([model["scores"]])
            if label not in scores:
                row.append("none")
                continue
            found = over_seeds([{"one": scores[label], "other": scores[reference]}], 0.95)["interval"]
            row.append(f"{scores[label].mean():.3f} {signed(found)}")
        body.append(row)
    return markdown(head, body)


def book_sizes(model: Model) -> str:
    """Books of several sizes from few and many photos on validation, minus their controls."""
    scores = pooled([model["scores"]]) if model else {}
    head, body = ["book", "accuracy", "minus control [95 %]"], []
    for label in [label for label in scores if label.startswith("size ") and label.endswith(": book")]:
        control = scores[label.replace(": book", ": control")]
        found = over_seeds([{"book": scores[label], "control": control}], 0.95)["interval"]
        tokens, _, photos = label.removeprefix("size ").removesuffix(": book").partition(" of ")
        body.append([f"{tokens} tokens of {photos} photos", f"{scores[label].mean():.3f}", signed(found)])
    return markdown(head, body)


def markdown(head: Sequence[str], body: Rows) -> str:
    """A table; "" where there is no row."""
    lines = [head, ["---"] * len(head), *body] if body else []
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    typer.run(main)
