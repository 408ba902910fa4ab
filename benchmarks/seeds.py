"""What is concluded of ours and its rivals, asked again: on pictures that no other table reads, of every seed
of the embedded model, and pooled.

Rows and differences are those that the table of pruners suggested, and were written before a model was asked
about any of these pictures. Each model has a codebook of its own, by the criterion and the clustering of the
book that ships, of as many training scenes, and a control of as many RANDOM tokens of these. Where that
clustering leaves no prototype, the book is as many random ones of the redundant tokens as the one that ships.
What is measured is kept in a folder: a stopped run goes on. Intervals are corrected for all that is concluded
of several seeds, here and by the verdict (pool.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from bars import ASKED_AGAIN, CONTROL, COVERAGE, KEEPS, SHOWN_AS_OURS, row_label
from choose_codebook import CLUSTERING, PICTURES
from fresh import EACH, TASKS, about
from gates import MODELS, SHIPPED
from over_models import corrected, pooled, said
from pages import PAGE, write_between
from pool import count_of_conclusions
from verdict import plain_book
from wordsight import VLM, Codebook, EvidencePlan, UsageError, build_codebook, collect_evidence
from wordsight._utils.files import replacing
from wordsight._utils.numbers import signed
from wordsight._utils.progress import track
from wordsight._utils.registry import spec
from wordsight.evaluation.comparison import TaskRun
from wordsight.evaluation.environment import Weights, describe_weights, machine
from wordsight.evaluation.result_cache import ResultCache
from wordsight.evaluation.statistics import Scores
from wordsight.pruners import make
from wordsight.pruners.base import Pruner
from wordsight.redundancy.build import random_codebook
from wordsight.redundancy.criteria import Condition
from wordsight.reports.formats import markdown
from wordsight.reports.tables import Table
from wordsight.synthetic.scenes import save_scenes
from wordsight.tasks.base import Task

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "seeds.json"
PRUNERS = ("divprune", COVERAGE, SHOWN_AS_OURS, SHOWN_AS_OURS + CONTROL)


@dataclass(frozen=True)
class Answers:
    """Of one model: the scores of every row on every task, the pictures asked about, what was said, which
    model it is, and how many prototypes its book has.
    """

    scores: dict[tuple[str, float | None], list[Scores]]
    pictures: list[str]
    texts: dict[tuple[str, float | None], list[list[str]]] = field(default_factory=dict)
    weights: Weights | None = None
    prototypes: int | None = None

    def of_all(self, name: str, keep: float | None) -> Scores:
        """(Q,) of all tasks; every one asks as much, so that their mean is that over tasks."""
        return np.concatenate(self.scores[name, keep])

    def kept(self, name: str, keep: float) -> float:
        """The share of the unpruned accuracy, the mean over tasks."""
        pairs = zip(self.scores[name, keep], self.scores["none", 1.0], strict=True)
        return float(np.mean([pruned.mean() / whole.mean() for pruned, whole in pairs]))


def main(
    folder: Annotated[Path, typer.Argument(help="for evidence, codebooks and what was measured")],
) -> None:
    """Write results/seeds.json and its tables in docs/results.md."""
    found = {seed: answers_of(seed, folder / seed) for seed in sorted(MODELS)}
    record = record_of(found)
    with replacing(RESULTS) as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")
    write_between(PAGE, "seeds", markdown(accuracies(record)))
    write_between(PAGE, "seeds, differences", markdown(differences(record)))


def texts_of(answers: Answers) -> dict[str, list[list[str]]]:
    """What was said, by "pruner keep", task by task."""
    return {f"{name} {keep}": of for (name, keep), of in answers.texts.items()}


def answers_of(seed: str, folder: Path) -> Answers:
    """What is asked, answered by a model with its own books; what is measured is kept in the folder."""
    pruners = {
        (row, keep): pruner
        for row in PRUNERS
        for keep, pruner in zip(KEEPS, pruners_of(row, seed, folder), strict=True)
    }
    found = answers_to(TASKS, model_of(seed), pruners, ResultCache(folder / "cells"))
    own = Codebook.from_pretrained("demo" if seed == SHIPPED else folder / "book")
    return replace(found, prototypes=len(own.prototypes))


def pruners_of(row: str, seed: str, folder: Path) -> list[Pruner]:
    """Of a row, at every keep. The model that ships has the books that ship, others those in their folder,
    which are built if the row has one.
    """
    if seed != SHIPPED and row.startswith(SHOWN_AS_OURS):
        make_books(seed, folder / "evidence", folder / "book", folder / "control")
        row = with_books(row, folder / "book", folder / "control")
    return [replace(make(row), keep=keep) for keep in KEEPS]


def model_of(seed: str) -> VLM:
    """In float32: a folder is read as it was written otherwise, in float16."""
    return VLM.from_pretrained(MODELS[seed], dtype=torch.float32)


def answers_to(
    tasks: Sequence[Task], vlm: VLM, pruners: Mapping[tuple[str, float], Pruner], cache: ResultCache
) -> Answers:
    """One question about each of the first pictures of every task, answered with all tokens and by every
    pruner, at the budget of its row.
    """
    asked: dict[tuple[str, float | None], list[Scores]] = {}
    texts: dict[tuple[str, float | None], list[list[str]]] = {}
    pictures = []
    for task in track(tasks, f"tasks of {vlm.name}", len(tasks)):
        examples = task.first(EACH, EACH)
        run = TaskRun(vlm, task, examples, [*pruners.values()], cache)
        measured = {("none", 1.0): run.measurements[0]}
        measured.update((row, run.of(pruner)) for row, pruner in pruners.items())
        for row, measurement in track(measured.items(), f"pruning for {spec(task)}", len(measured)):
            result = run.result(measurement)
            asked.setdefault(row, []).append(np.array(result.scores))
            texts.setdefault(row, []).append(result.answers[0])
        pictures += [f"{about(task)} {example.picture_id}" for example in examples]
    return Answers(asked, pictures, texts, describe_weights(vlm))


def with_books(name: str, book: Path, control: Path) -> str:
    """The SPEC of a row of PRUNERS with the books of a model."""
    if name.endswith(CONTROL):
        return f"{name.removesuffix(CONTROL)}:codebook={control}"
    return f"{name}:codebook={book}" if name == SHOWN_AS_OURS else name


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
        evidence = collect_evidence(model_of(seed), scenes, evidence_folder, plan)
    try:
        built = build_codebook(evidence, condition, CLUSTERING)
    except UsageError:  # the clustering leaves none: seen of seed 2 before it was asked anything
        built = plain_book(evidence, condition, len(shipped.prototypes))
    built.save_pretrained(book)
    random_codebook(evidence, len(built.prototypes)).save_pretrained(control)


def record_of(found: dict[str, Answers]) -> dict[str, Any]:
    """Accuracies of every seed, the mean over tasks, and the differences of all seeds, corrected for all."""
    (pictures,) = {tuple(answers.pictures) for answers in found.values()}  # every model is asked the same
    level = corrected(count_of_conclusions())

    def gaps(name: str, other: str, keep: float) -> NDArray[np.float64]:
        return np.stack([each.of_all(name, keep) - each.of_all(other, keep) for each in found.values()])

    def of_seeds(figure: Callable[[Answers, str, float], float]) -> dict[float, dict[str, dict[str, float]]]:
        return {
            keep: {name: {seed: figure(each, name, keep) for seed, each in found.items()} for name in PRUNERS}
            for keep in KEEPS
        }

    return {
        "accuracy": of_seeds(lambda answers, name, keep: float(answers.of_all(name, keep).mean())),
        "unpruned": {seed: float(each.of_all("none", 1.0).mean()) for seed, each in found.items()},
        "kept": of_seeds(Answers.kept),
        "level": level,
        "differences": {
            f"{name} - {other}": {keep: pooled(gaps(name, other, keep), pictures, level) for keep in KEEPS}
            for name, other in ASKED_AGAIN
        },
        "command": "python benchmarks/seeds.py build/seeds",
        "models": {seed: each.weights for seed, each in found.items()},
        "prototypes": {seed: each.prototypes for seed, each in found.items()},
        "tasks": [spec(task) for task in TASKS],
        "answers": {seed: texts_of(each) for seed, each in found.items()},
        "environment": machine(),
    }


def accuracies(record: dict[str, Any]) -> Table:
    """A row for every pruner and keep, a column for every seed, and the mean of seeds with what is kept."""
    rows = [("none", "", *each_seed(record["unpruned"]), "")]
    for keep, by_name in record["accuracy"].items():
        for name, accuracy in by_name.items():
            share = float(np.mean([*record["kept"][keep][name].values()]))
            rows.append((row_label(name), f"{keep:.0%}", *each_seed(accuracy), f"{share:.1%}"))
    seeds = (f"seed {seed}" for seed in record["unpruned"])
    return Table("Seeds", ("pruner", "keep", *seeds, "mean", "kept"), rows)


def each_seed(accuracy: dict[str, float]) -> list[str]:
    """Each, and the mean."""
    return [f"{value:.3f}" for value in (*accuracy.values(), float(np.mean([*accuracy.values()])))]


def differences(record: dict[str, Any]) -> Table:
    """Differences on every seed, at 95 % over pictures, and pooled, corrected for all; and what that says."""
    body = []
    for pair, by_keep in record["differences"].items():
        for keep, of in by_keep.items():
            each = map(signed, of["by_model"])
            body.append((row_label(pair), f"{keep:.0%}", *each, signed(of["interval"]), said(of["interval"])))
    seeds = (f"seed {seed} [95 %]" for seed in record["unpruned"])
    return Table("Differences", ("difference", "keep", *seeds, "all [corrected]", "concluded"), body)


if __name__ == "__main__":
    typer.run(main)
