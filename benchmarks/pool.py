"""Pool the verdicts of all models as docs/findings.md lays down, and write its tables and the appendix's."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from safetensors.numpy import load_file

from bars import ASKED_AGAIN
from over_models import Pooled, corrected, pooled, said
from pages import write_between
from wordsight._utils.files import replacing
from wordsight._utils.numbers import signed
from wordsight.algorithms.ranking import correlation
from wordsight.evaluation.calibration import KEEPS
from wordsight.evaluation.statistics import Scores
from wordsight.redundancy.criteria import CRITERIA

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGES = [HERE.parent / "docs" / name for name in ("findings.md", "findings_appendix.md")]
SETTINGS = {path.stem: json.loads(path.read_text()) for path in sorted((HERE / "verdicts").glob("*.json"))}
PAYS = ("book", "control")
FORETOLD = (PAYS, ("book", "random"))  # by predictors; the protocol names the first alone
BESIDE = [("book", name) for name in ("control", "random", "divprune", "all visual tokens")]  # model by model
BESIDE += [("clustered", name) for name in ("clustered control", "random", "divprune", "all visual tokens")]
Model = dict[str, Any]  # the record of a model, with its "scores"
Rows = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Comparison:
    """A mean of the models of a recipe that something is concluded from: of four methods, the first minus the
    second is compared with the third minus the fourth; with `minus`, the whole with that of another recipe.
    """

    recipe: str
    minus: str | None
    methods: tuple[str, ...]

    def __str__(self) -> str:
        pairs = [f"{a} - {b}" for a, b in zip(self.methods[::2], self.methods[1::2], strict=True)]
        named = " - ".join(f"({pair})" for pair in pairs) if len(pairs) > 1 else pairs[0]
        recipes = f"{self.recipe} - {self.minus}" if self.minus else self.recipe
        return f"({recipes}) {named}".replace(" | ", " at ")


def comparisons(settings: dict[str, Any]) -> list[Comparison]:
    """Everything that is concluded from differences of one subject's models."""
    return [
        Comparison(recipe, each.get("minus"), tuple(each["methods"]))
        for each in settings["concluded"]
        for recipe in each["recipes"]
    ]


def count_of_conclusions() -> int:
    """How many intervals over models are concluded from in all: on the page, and by seeds.py."""
    asked_again = len(ASKED_AGAIN) * len(KEEPS)
    return asked_again + sum(len(comparisons(each)) for each in SETTINGS.values())


def main(
    results: Annotated[Path, typer.Option(help="the folder of the records")] = RESULTS,
    split: Annotated[str, typer.Option(help="validation prints the tables and writes nothing")] = "test",
) -> None:
    """Write results/verdict_scenes.json, results/verdict_photos.json and the tables of both pages."""
    for of, settings in SETTINGS.items():
        models, beside = (
            {name: model for name in settings.get(part, ()) if (model := read(results, of, name, split))}
            for part in ("models", "beside")
        )
        if split == "test" and (missing := [name for name in settings["models"] if name not in models]):
            absent = ", ".join(missing)
            print(f"{of}: nothing is concluded, since {absent} were not measured", file=sys.stderr)
            models = {}
        shown = models | beside
        if len({str(model["questions"]) for model in shown.values()}) > 1:
            raise SystemExit(f"the models of {of} were asked different questions")
        if shown:
            tables, verdict = pool(models, settings, beside)
            tables["sizes"] = book_sizes(
                [model for name in shown if (model := read(results, of, name, "validation"))]
            )
            if split == "test":
                with replacing(results / f"verdict_{of}.json") as draft:
                    draft.write_text(json.dumps(verdict, indent=1) + "\n")
            for mark, table in tables.items():
                _put(f"{of} {mark}", table, split)


def _put(mark: str, table: str, split: str) -> None:
    if split != "test":
        print(f"{mark}\n{table}")
        return
    for page in PAGES:
        write_between(page, mark, table)


def read(results: Path, of: str, name: str, split: str) -> Model | None:
    """The record of a model, if there is one, with its scores."""
    path = results / f"verdict_{of}_{name}_{split}.json"
    if not path.exists():
        return None
    scores = load_file(path.with_suffix(".safetensors"))
    return {**json.loads(path.read_text()), "scores": {label: s.astype(float) for label, s in scores.items()}}


def pool(
    models: dict[str, Model], settings: dict[str, Any], beside: dict[str, Model]
) -> tuple[dict[str, str], dict[str, Any]]:
    """The tables of a subject, and the record that they are made from. Models that are `beside` are rows of
    tables, and nothing is concluded from them.
    """
    level, shown = corrected(count_of_conclusions()), models | beside
    differences = {
        str(each): found
        for each in comparisons(settings)
        if (found := compared(models, each, level))  # a clustering may have left no prototype
    }
    predicted = predictors(models) if models and settings.get("predictors") else {}
    verdict = {
        "concluded": count_of_conclusions(),
        "level": level,
        "accuracy": {name: accuracy(model) for name, model in shown.items()},
        "differences": differences,
        "predictors": predicted,
        "not planned, not corrected": not_planned(models),
        "environments": [model["environment"] for model in shown.values()],
    }
    return {
        "conclusions": conclusions(differences, predicted),
        "accuracy": accuracies(shown),
        "models": by_model(shown),
        "criteria": against(shown, [f"criterion: {name}" for name in CRITERIA], "criterion: none"),
        "pruners": by_keep(shown, begins="pruner: ", minus="pruner: random"),
        "kinds": kinds(models),
        "by keep": by_keep(beside),
    }, verdict


def scores_of(model: Model, method: str) -> Scores | None:
    """The scores of a method, mean over keeps where none is named; None if it was not measured."""
    known: dict[str, Scores] = model["scores"]
    if method in known:
        return known[method]
    at_keeps = [known[label] for keep in KEEPS if (label := f"{method} | {keep}") in known]
    return np.mean(at_keeps, 0) if at_keeps else None


def gap_of(model: Model, methods: Sequence[str]) -> Scores | None:
    """The first method minus the second, minus the same of the next two, on the questions that all have."""
    found = [scores_of(model, method) for method in methods]
    there = [scores for scores in found if scores is not None]
    if len(there) < len(methods):
        return None
    count = min(map(len, there))
    signs = (1, -1, -1, 1)[: len(methods)]
    gap: Scores = np.sum([sign * one[:count] for sign, one in zip(signs, there, strict=True)], 0)
    return gap


def compared(models: dict[str, Model], comparison: Comparison, level: float) -> Pooled | None:
    """A comparison over the models of its recipe; those of two recipes in pairs, seed by seed."""
    found = list(_gaps(models, comparison.recipe, comparison.methods))
    if comparison.minus:
        others = _gaps(models, comparison.minus, comparison.methods)
        found = [gap - other for gap, other in zip(found, others, strict=False)]
    return pooled(np.array(found), _asked(models, found), level) if found else None


def not_planned(models: dict[str, Model]) -> dict[str, Pooled]:
    """What books are above their controls at 95 %: on the models of every recipe, and on all together."""
    named = dict.fromkeys(name.rpartition("-")[0] for name in models)
    chosen = {f"({recipe})": [*_gaps(models, recipe, PAYS)] for recipe in named}
    chosen["all models"] = [gap for gaps in chosen.values() for gap in gaps]
    return {
        f"{name} {' - '.join(PAYS)}": pooled(np.array(gaps), _asked(models, gaps), 0.95)
        for name, gaps in chosen.items()
        if gaps
    }


def _gaps(models: dict[str, Model], recipe: str, methods: Sequence[str]) -> Iterator[Scores]:
    for name, model in models.items():
        if name.rpartition("-")[0] == recipe and (gap := gap_of(model, methods)) is not None:
            yield gap


def _asked(models: dict[str, Model], gaps: Sequence[Scores]) -> list[str]:
    """What the questions are about, of which the first are asked."""
    return [picture for picture, _ in next(iter(models.values()))["questions"]][: len(gaps[0])]


def predictors(models: dict[str, Model]) -> dict[str, float | None]:
    """Spearman's rho, over models, of what a book gains with the share of silent tokens, and with the median
    blind divergence; None if all are alike. Models of one recipe are no independent draws: there is no p.
    """
    median = [model["main"]["blind_divergence"]["training"]["deciles"][4] for model in models.values()]
    known = {
        "silent tokens": [silence(model) for model in models.values()],
        "median blind divergence": median,
    }
    gains = {
        " - ".join(methods): torch.tensor([gain(model, methods) for model in models.values()])
        for methods in FORETOLD
    }
    return {
        f"{name} and {gained}": correlation(torch.tensor(values), values_gained)
        for gained, values_gained in gains.items()
        for name, values in known.items()
    }


def silence(model: Model) -> float:
    """The share of tokens of training pictures that say nothing."""
    share: float = model["main"]["blind_divergence"]["training"]["silent"]
    return share


def gain(model: Model, methods: Sequence[str]) -> float:
    """What the first method is above the second."""
    gap = gap_of(model, methods)
    assert gap is not None, "every model has both"
    return float(gap.mean())


def accuracy(model: Model) -> dict[str, float]:
    """Of every method, mean over keeps."""
    names = dict.fromkeys(label.rpartition(" | ")[0] or label for label in model["scores"])
    found = {name: scores_of(model, name) for name in names}
    return {name: float(scores.mean()) for name, scores in found.items() if scores is not None}


def conclusions(differences: dict[str, Pooled], predicted: dict[str, float | None]) -> str:
    """The differences, model by model and pooled, and what goes with what a book gains."""
    head = [
        "difference",
        "each model [95 %, pictures]",
        "pooled [corrected]",
        "models, pictures",
        "concluded",
    ]
    body = [
        [
            name,
            "; ".join(map(signed, each["by_model"])),
            signed(each["interval"]),
            f"{each['models']}, {each['pictures']}",
            said(each["interval"]),
        ]
        for name, each in differences.items()
    ]
    for name, rho in predicted.items():
        told = "all alike" if rho is None else f"rho {rho:+.2f}"
        body.append([f"{name}, over models", "", told, "", "reported only"])
    return markdown(head, body)


def accuracies(models: dict[str, Model]) -> str:
    """Every method of the main part and the oracle, of each model and of each recipe's mean."""
    of = {name: accuracy(model) for name, model in models.items()}
    recipes: dict[str, list[dict[str, float]]] = {}
    for name, own in of.items():
        recipes.setdefault(name.rpartition("-")[0], []).append(own)
    first = next(iter(of.values()))
    names = [name for name in first if ": " not in name or name.split(": ")[0] in ("probe", "oracle")]
    columns = [*([own] for own in of.values()), *(own for own in recipes.values() if len(own) > 1)]
    heads = [*of, *(f"mean of {name}" for name, own in recipes.items() if len(own) > 1)]
    body = [[name, *(_mean([each.get(name) for each in own]) for own in columns)] for name in names]
    return markdown(["method", *heads], body)


def by_keep(models: dict[str, Model], *, begins: str = "", minus: str = "") -> str:
    """Every method of the main part, or those whose labels begin with a word, of each model at each keep, the
    best first; and the mean minus that of one of them, at 95 %, which concludes nothing.
    """
    rows = []
    for name, model in models.items():
        known = accuracy(model)
        methods = [label for label in known if label.startswith(begins)]
        methods = [label for label in methods if ": " not in label.removeprefix(begins)]
        for label in sorted(methods, key=known.__getitem__, reverse=True):
            there = [model["scores"].get(f"{label} | {keep}") for keep in KEEPS]
            by = [f"{scores.mean():.3f}" if scores is not None else "" for scores in there]
            gap = [_difference(model, (label, minus)) if label != minus else ""] if minus else []
            rows.append([name, label.removeprefix(begins), *by, f"{known[label]:.3f}", *gap])
    gap_head = [f"minus {minus.removeprefix(begins)}"] if minus else []
    return markdown(["model", "method", *(f"{keep:.0%}" for keep in KEEPS), "mean", *gap_head], rows)


def _mean(values: list[float | None]) -> str:
    there = [value for value in values if value is not None]
    return f"{np.mean(there):.3f}" if there else ""


def by_model(models: dict[str, Model]) -> str:
    """How silent every model's tokens are, what its books gain over other methods, and how well silent
    tokens, if there are any, and the half that says least are told.
    """
    books = ("book", "clustered", "control", "scorer", "[CLS] attention")
    gains = [f"{method} - {other} [95 %, pictures]" for method, other in BESIDE]
    head = ["model", "silent tokens", "chosen", *gains, *(f"AUROC, {name}" for name in books)]
    body = []
    for name, model in models.items():
        if "main" not in model:
            continue
        told = model["main"]["auroc"].values()
        row = [name, f"{silence(model):.1%}", "; ".join(model["chosen"].values())]
        row += [_difference(model, methods) for methods in BESIDE]
        body.append(
            [*row, *(", ".join(f"{each[book]:.3f}" for each in told if book in each) for book in books)]
        )
    return markdown(head, body)


def against(models: dict[str, Model], labels: list[str], reference: str) -> str:
    """Methods minus a reference, of every model that has it; 95 %, nothing concluded."""
    own = {name: model for name, model in models.items() if scores_of(model, reference) is not None}
    kind, _, other = reference.partition(": ")
    body = [
        [f"`{label.split(': ')[1]}`", *(_minus(model, label, reference) for model in own.values())]
        for label in labels
    ]
    return markdown([kind, *(f"{name}, minus {other}" for name in own)], body if own else [])


def _minus(model: Model, label: str, reference: str) -> str:
    scores, difference = scores_of(model, label), _difference(model, (label, reference))
    return f"{scores.mean():.3f} {difference}" if scores is not None and difference else "none"


def _difference(model: Model, methods: Sequence[str]) -> str:
    """One method minus another, of one model, at 95 % over pictures; "" where one was not measured."""
    if (gap := gap_of(model, methods)) is None:
        return ""
    return signed(pooled(gap[None], _asked({"": model}, [gap]), 0.95)["interval"])


def kinds(models: dict[str, Model]) -> str:
    """Kinds of scenes: what their books gain, over the models that have them; 95 %, models drawn."""
    own = [model for model in models.values() if "kinds" in model]
    head = ["kind", "silent tokens", "all tokens", "random", *PAYS, "book - control [95 %]"]
    body = []
    for kind in own[0]["kinds"]["silent"] if own else ():
        pair = tuple(f"{kind}: {name}" for name in PAYS)
        gaps = [gap for model in own if (gap := gap_of(model, pair)) is not None]
        means = [
            _mean([accuracy(model).get(f"{kind}: {name}") for model in own])
            for name in ("all visual tokens", "random", *PAYS)
        ]
        silent = f"{np.mean([model['kinds']['silent'][kind] for model in own]):.1%}"
        found = pooled(np.array(gaps), _asked(models, gaps), 0.95)
        body.append([kind, silent, *means, signed(found["interval"])])
    return markdown(head, body)


def book_sizes(models: list[Model]) -> str:
    """Books of several sizes from few and many pictures on validation, minus their controls."""
    body = []
    for model in models:
        labels = [label for label in accuracy(model) if label.startswith("size ")]
        for tokens, pictures in sorted({tuple(map(int, re.findall(r"\d+", label))) for label in labels}):
            book, control = (f"size {tokens} of {pictures}: {name}" for name in PAYS)
            body.append([f"{tokens} tokens of {pictures} pictures", _minus(model, book, control)])
    return markdown(["book", "accuracy, minus control [95 %]"], body)


def markdown(head: Sequence[str], body: Rows) -> str:
    """A table; "" where there is no row."""
    lines = [head, ["---"] * len(head), *body] if body else []
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    typer.run(main)
