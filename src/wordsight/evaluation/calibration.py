"""Calibrate: does a codebook pay on this model, and which criterion makes the best one?

A codebook can win for the wrong reason: that its prototypes are common, not that they say nothing. So the
best book has to beat random tokens AND a book of random tokens, on questions that did not choose it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from typing_extensions import TypedDict

from wordsight._utils.progress import track
from wordsight._utils.registry import spec
from wordsight.errors import UsageError
from wordsight.evaluation.environment import Environment, environment
from wordsight.evaluation.prepared_task import PreparedTask, check_examples
from wordsight.evaluation.statistics import FEWEST_PICTURES, Interval, Scores
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner
from wordsight.pruners.codebook import CodebookPruner
from wordsight.pruners.random import Random
from wordsight.redundancy.build import Clustering, build_codebook, random_codebook
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.criteria import CRITERIA, ConditionRecord
from wordsight.redundancy.evidence import Evidence
from wordsight.redundancy.silence import SilenceRecord, share_silent
from wordsight.tasks.base import Example, Task

FORMAT = 1
KEEPS = (0.2, 0.1, 0.05)
SHARES = (0.3, 0.5, 0.7)
CONTROL_SEEDS = (0, 1, 2)


class QuestionCounts(TypedDict):
    """How many questions chose the book, and how many tested it."""

    choosing: int
    testing: int


class CalibrationRecord(TypedDict):
    """How the best book was chosen and tested; accuracies are means over `keeps`."""

    format: int
    pays: Annotated[bool, "whether the book beats both controls, on enough pictures"]
    pictures: Annotated[int, "that the questions which tested it are about"]
    enough_pictures: Annotated[bool, f"false if they are fewer than {FEWEST_PICTURES}: not to be believed"]
    chosen: Annotated[str, "the criterion of the best book, with its quantile"]
    settings: Annotated[ConditionRecord, "the condition of that criterion, as in the book's config"]
    prototypes: int
    task: str
    keeps: list[float]
    silence: Annotated[SilenceRecord, "how many tokens of the evidence say nothing, which foretells it"]
    choosing: Annotated[
        dict[str, float], "accuracy of every book that was tried, on the questions that choose"
    ]
    testing: Annotated[dict[str, float], "accuracy of the best book and its references, on those that test"]
    difference_to: Annotated[dict[str, Interval], "accuracy of the best book minus that of a control, paired"]
    level: Annotated[float, "of the intervals: 0.95, Bonferroni-corrected"]
    questions: QuestionCounts
    environment: Environment


@dataclass(frozen=True)
class Calibration:
    """The best book and the record of how it was chosen and tested; `record["pays"]` is the verdict."""

    book: Codebook
    record: CalibrationRecord


def calibrate(
    vlm: VLM,
    evidence: Evidence,
    task: Task,
    *,
    questions: int = 600,
    clustering: Clustering | None = None,
) -> Calibration:
    """Build a book for every criterion and share, choose on one half of the questions, test on the other.

    A book pays if its accuracy, mean over KEEPS, is above that of random tokens (three seeds) and of books
    of as many random tokens (three seeds), both paired 95 % intervals Bonferroni-corrected for the two, on
    FEWEST_PICTURES pictures or more.
    Raises UsageError if the evidence is of another model or no criterion leaves a prototype.
    """
    first, second = split_questions(vlm, task, questions)
    random_codebook(evidence, 1).check(vlm)
    books = candidates(evidence, clustering or Clustering())
    choosing = _choosing(PreparedTask.of(vlm, task, first), books)
    best = max(choosing, key=choosing.__getitem__)
    book = books[best]
    testing = PreparedTask.of(vlm, task, second)
    scores = mean_over(testing, _pruners(book))
    controls = _controls(testing, evidence, len(book.prototypes))
    level = 1 - 0.05 / len(controls)
    condition = book.config["condition"]
    assert not isinstance(condition, str), "a candidate is built by a condition"
    differences = {
        name: [float((scores - other).mean()), *testing.interval(scores - other, level=level)]
        for name, other in controls.items()
    }
    pictures = len(set(testing.pictures))
    enough = pictures >= FEWEST_PICTURES
    record: CalibrationRecord = {
        "format": FORMAT,
        "pays": enough and all(low > 0 for _, low, _ in differences.values()),
        "pictures": pictures,
        "enough_pictures": enough,
        "chosen": best,
        "settings": condition,
        "prototypes": len(book.prototypes),
        "task": spec(task),
        "keeps": list(KEEPS),
        "silence": share_silent(evidence.signals["blind_divergence"], pictures=evidence.examined),
        "choosing": choosing,
        "testing": {
            "all visual tokens": float(testing.whole.mean()),
            "none": float(testing.blind.mean()),
            best: float(scores.mean()),
            **{name: float(values.mean()) for name, values in controls.items()},
        },
        "difference_to": differences,
        "level": level,
        "questions": {"choosing": len(first), "testing": len(second)},
        "environment": environment(vlm),
    }
    return Calibration(book, record)


def candidates(
    evidence: Evidence, clustering: Clustering, shares: tuple[float, ...] = SHARES
) -> dict[str, Codebook]:
    """A book for every named criterion, with its quantiles at each share; those left empty are not there."""
    books: dict[str, Codebook] = {}
    reasons = []
    for name, condition in CRITERIA.items():
        at_shares = {f"{name} q{share}": condition.at(share) for share in shares}
        for label, moved in at_shares.items() if condition.at(1) != condition else [(name, condition)]:
            try:
                books[label] = build_codebook(evidence, moved, clustering)
            except UsageError as error:
                reasons.append(f"{label}: {error}")
    if not books:
        raise UsageError(reasons[0])
    return books


def mean_over(prepared: PreparedTask, pruners: Sequence[Pruner]) -> Scores:
    """The score of every question, mean over the pruners."""
    scores: Scores = np.mean([prepared.run(pruner)[0] for pruner in pruners], 0)
    return scores


def split_questions(vlm: VLM, task: Task, questions: int) -> tuple[list[Example], list[Example]]:
    """The first questions of the task in two parts that share no picture. Raises UsageError if they are about
    fewer than two, or one of them cannot be asked.
    """
    examples = task.first(questions)
    pictures = list(dict.fromkeys(example.picture_id for example in examples))
    if len(pictures) < 4:
        raise UsageError(
            f"expected questions about at least four pictures, two to choose by and two to test, got "
            f"{len(pictures)}"
        )
    check_examples(vlm, task, examples)
    early = set(pictures[: len(pictures) // 2])
    first = [example for example in examples if example.picture_id in early]
    return first, [example for example in examples if example.picture_id not in early]


def _choosing(prepared: PreparedTask, books: dict[str, Codebook]) -> dict[str, float]:
    """The accuracy of every book."""
    tried = track(books.items(), "trying criteria", len(books))
    return {name: float(mean_over(prepared, _pruners(book)).mean()) for name, book in tried}


def _pruners(book: Codebook) -> list[Pruner]:
    return [CodebookPruner(codebook=book, keep=keep) for keep in KEEPS]


def _controls(prepared: PreparedTask, evidence: Evidence, count: int) -> dict[str, Scores]:
    """The scores of random tokens, and of books of so many random tokens."""
    books = [random_codebook(evidence, count, seed) for seed in CONTROL_SEEDS]
    return {
        "random tokens": mean_over(prepared, [Random(keep=keep) for keep in KEEPS]),
        "codebooks of random tokens": np.mean([mean_over(prepared, _pruners(book)) for book in books], 0),
    }
