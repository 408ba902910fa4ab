"""The rows that anything is concluded from, on every seed of the embedded model, and pooled.

Each model has a codebook of its own, by the criterion and the clustering of the book that ships, of as many
training scenes, and a control of as many RANDOM tokens of these. Where that clustering leaves no prototype,
the book is as many random ones of the redundant tokens as the one that ships. Seed 1 is that of pruners.json.
Which rows and differences there are was written before any other seed was measured; but two of the methods
came from what the table of seed 1 showed, so that it is seeds 0 and 2 that confirm. What is measured is kept
in a folder: a stopped run goes on.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from bars import CONTROL, KEEPS, by_task
from choose_codebook import CLUSTERING, PICTURES
from gates import MODELS
from over_models import corrected, pooled, said
from run import PAGE, compare, write_between
from verdict import plain_book
from wordsight import VLM, Codebook, EvidencePlan, UsageError, build_codebook, collect_evidence
from wordsight._utils.files import replacing
from wordsight._utils.numbers import signed
from wordsight.evaluation.results import Results
from wordsight.redundancy.build import random_codebook
from wordsight.redundancy.criteria import Condition
from wordsight.reports.formats import markdown
from wordsight.reports.tables import Table
from wordsight.synthetic.scenes import save_scenes

HERE = Path(__file__).parent
SHIPPED = "1"
OURS, COVERAGE, BOOK = "codebook_scope", "scope:alpha=0.0", "codebook"
PRUNERS = ("random", "divprune", COVERAGE, BOOK, BOOK + CONTROL, OURS, OURS + CONTROL)
PAIRS = (
    (OURS, "divprune"),
    (OURS, OURS + CONTROL),
    (OURS, COVERAGE),
    (COVERAGE, "divprune"),
    (BOOK, BOOK + CONTROL),
    (BOOK, "random"),
)
SAME_PICTURES = {"captions:pictures=400": "scenes:pictures=400"}  # tasks about the pictures of others
Answered = dict[tuple[str, float | None], NDArray[np.float64]]  # by pruner and keep: (Q,) of all tasks


def main(
    folder: Annotated[Path, typer.Argument(help="for evidence, codebooks and what was measured")],
    processes: Annotated[int, typer.Option(help="that measure a part each")] = 1,
) -> None:
    """Write results/seeds.json and its tables in docs/results.md."""
    found = {seed: results_of(seed, folder / seed, processes) for seed in sorted(MODELS)}
    record = record_of(found)
    with replacing(HERE / "results" / "seeds.json") as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")
    write_between(PAGE, "seeds", markdown(accuracies(record)))
    write_between(PAGE, "seeds, differences", markdown(differences(record)))


def results_of(seed: str, folder: Path, processes: int) -> Results:
    """The comparison on a model by its own books, whose rows are called as those of the model that ships."""
    if seed == SHIPPED:
        return Results.load(HERE / "results" / "pruners.json")
    results, book, control = (folder / name for name in ("results.json", "book", "control"))
    if not results.exists():
        make_books(seed, folder / "evidence", book, control)
        options = json.loads((HERE / "experiments" / "pruners.json").read_text())
        del options["reference"]
        own = [named(name, book, control) for name in PRUNERS]
        compare({**options, "model": MODELS[seed], "pruner": own}, results, processes)
    return Results.load(results)


def named(name: str, book: Path, control: Path) -> str:
    """The SPEC of a row of PRUNERS with the books of a model."""
    if name.endswith(CONTROL):
        return f"{name.removesuffix(CONTROL)}:codebook={control}"
    return f"{name}:codebook={book}" if name in (OURS, BOOK) else name


def make_books(seed: str, evidence_folder: Path, book: Path, control: Path) -> None:
    """Build the book of a model by the choice for the one that ships, and its control."""
    if book.exists() and control.exists():
        return
    shipped = Codebook.from_pretrained("demo")
    chosen = shipped.config["condition"]
    assert not isinstance(chosen, str), "the book that ships is built by a condition"
    condition = Condition.from_json(chosen)
    with TemporaryDirectory() as pictures:
        plan = EvidencePlan(condition=condition, clustering=CLUSTERING)
        scenes = save_scenes(pictures, PICTURES)
        evidence = collect_evidence(VLM.from_pretrained(MODELS[seed]), scenes, evidence_folder, plan)
    try:
        built = build_codebook(evidence, condition, CLUSTERING)
    except UsageError:  # the clustering leaves none: seen of seed 2 before it was asked anything
        built = plain_book(evidence, condition, len(shipped.prototypes))
    built.save_pretrained(book)
    random_codebook(evidence, len(built.prototypes)).save_pretrained(control)


def record_of(found: dict[str, Results]) -> dict[str, Any]:
    """Accuracies of every seed, the mean over tasks, and the differences of all seeds, corrected for all."""
    asked = {seed: answered(results) for seed, results in found.items()}
    pictures = {seed: pictures_of(results) for seed, results in found.items()}
    (of_all,) = {tuple(each) for each in pictures.values()}  # every model is asked the same
    level = corrected(len(PAIRS) * len(KEEPS))
    return {
        "accuracy": {
            keep: {name: {seed: float(asked[seed][name, keep].mean()) for seed in asked} for name in PRUNERS}
            for keep in KEEPS
        },
        "unpruned": {seed: float(asked[seed]["none", 1.0].mean()) for seed in asked},
        "kept": {
            keep: {
                name: {seed: kept(results, name, keep) for seed, results in found.items()} for name in PRUNERS
            }
            for keep in KEEPS
        },
        "level": level,
        "differences": {
            f"{name} - {other}": {
                keep: pooled(
                    np.stack([each[name, keep] - each[other, keep] for each in asked.values()]),
                    of_all,
                    level,
                )
                for keep in KEEPS
            }
            for name, other in PAIRS
        },
        "command": "python benchmarks/seeds.py build/seeds",
        "environments": {seed: results.environment for seed, results in found.items()},
    }


def answered(results: Results) -> Answered:
    """The scores of all questions, by the names of PRUNERS. Every task asks as much: their mean is that over
    tasks.
    """
    scores, pictures = by_task(results)
    assert len(set(map(len, pictures))) == 1, "every task asks as much"
    return {(row_name(name), keep): np.concatenate(each) for (name, keep), each in scores.items()}


def kept(results: Results, name: str, keep: float) -> float:
    """The share of the unpruned accuracy, the mean over tasks."""
    most = max(row["tasks"] for row in results.rows)
    (share,) = (
        row["retention"]
        for row in results.rows
        if (row["tasks"], row_name(row["pruner"]), row["keep"]) == (most, name, keep)
    )
    assert share is not None, "the model answers some questions rightly"
    return share


def row_name(name: str) -> str:
    """What a row of a model with its own books is called on the model that ships."""
    bare, _, book = name.partition(":codebook=")
    return bare + CONTROL if Path(book).name in ("control", Path(CONTROL).name) else bare


def pictures_of(results: Results) -> list[str]:
    """Of every question the picture, which two tasks share."""
    return [
        f"{SAME_PICTURES.get(task['task'], task['task'])} {question['picture']}"
        for task in results.answers
        for question in task["questions"]
    ]


def accuracies(record: dict[str, Any]) -> Table:
    """A row for every pruner and keep, a column for every seed, and the mean of seeds with what is kept."""
    rows = [("none", "", *of_seeds(record["unpruned"]), "")]
    for keep, by_name in record["accuracy"].items():
        for name, accuracy in by_name.items():
            share = float(np.mean([*record["kept"][keep][name].values()]))
            rows.append((label(name), f"{keep:.0%}", *of_seeds(accuracy), f"{share:.1%}"))
    seeds = (f"seed {seed}" for seed in record["unpruned"])
    return Table("Seeds", ("pruner", "keep", *seeds, "mean", "kept"), rows)


def of_seeds(accuracy: dict[str, float]) -> list[str]:
    """Each, and the mean."""
    return [f"{value:.3f}" for value in (*accuracy.values(), float(np.mean([*accuracy.values()])))]


def differences(record: dict[str, Any]) -> Table:
    """Differences on every seed, at 95 % over pictures, and pooled, corrected for all; and what that says."""
    body = []
    for pair, by_keep in record["differences"].items():
        for keep, of in by_keep.items():
            each = map(signed, of["by_model"])
            body.append((label(pair), f"{keep:.0%}", *each, signed(of["interval"]), said(of["interval"])))
    seeds = (f"seed {seed} [95 %]" for seed in record["unpruned"])
    return Table("Differences", ("difference", "keep", *seeds, "all [corrected]", "concluded"), body)


def label(name: str) -> str:
    return name.replace(CONTROL, " with a random book")


if __name__ == "__main__":
    typer.run(main)
