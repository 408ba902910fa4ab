"""Metrics: from the scores of every question to accuracy, intervals, differences, the easy and hard parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from typing_extensions import NotRequired, TypedDict

from wordsight.evaluation.latency import Latency
from wordsight.evaluation.result_cache import RunResult
from wordsight.evaluation.statistics import (
    DIFFERENCES,
    FEWEST_PICTURES,
    Difference,
    Scores,
    interval,
    interval_of_tasks,
)
from wordsight.tasks.base import Example
from wordsight.tasks.scoring import score, scorer_for

UNPRUNED, BLIND, RESIZED = "none", "blind", "resized"  # what is measured beside the pruners
RIGHT = 0.5  # a question that scores at least so much counts as answered


class Part(TypedDict):
    """Accuracy on some of the questions, with its 95 % interval; null where there are none."""

    accuracy: float | None
    low: float | None
    high: float | None
    unpruned: Annotated[float | None, "accuracy of the unpruned model"]
    questions: int


class Split(TypedDict):
    """VTC-Bench's split (https://arxiv.org/abs/2510.07143): a question is easy if the unpruned model answers
    it when the picture itself is resized, to the share of its pixels that is kept of its tokens.
    """

    easy: Part
    hard: Part


class PartAccuracy(TypedDict):
    """Accuracy on some of the questions, with its 95 % interval, null where they are about one picture."""

    accuracy: float
    low: float | None
    high: float | None


class ByType(PartAccuracy):
    """Accuracy on the questions of one type."""

    blind: Annotated[float, "accuracy with no visual token"]
    prior: Annotated[float, "the share of the commonest answer"]
    questions: int


class Metrics(TypedDict):
    """What is measured of a pruner on a task, or as the mean over tasks; intervals are 95 % over pictures,
    and null where a task has one picture.
    """

    accuracy: Annotated[float, "or what the task makes of all answers together, in its own unit"]
    low: float | None
    high: float | None
    unpruned: Annotated[float, "accuracy of the unpruned model"]
    retention: Annotated[float | None, "accuracy as a share of the unpruned one; null if that is 0"]
    blind: Annotated[float, "accuracy with no visual token"]
    image_contribution: Annotated[float | None, "(unpruned - blind) / blind; null if blind is 0"]
    difference_to: Annotated[
        dict[str, Difference], "accuracy minus that of the unpruned model or a pruner, paired"
    ]
    split: Annotated[
        Split | None,
        "null for the unpruned model, resized pictures, means over tasks, and where accuracy is no mean",
    ]
    yes_ratio: NotRequired[
        Annotated[float | None, "share of answers that are yes; null unless all right ones are yes or no"]
    ]
    by_type: Annotated[
        dict[str, ByType], "by type of question; empty for means over tasks, and where accuracy is no mean"
    ]
    tokens_total: Annotated[float, "visual tokens of a prompt, mean over questions"]
    tokens_kept: Annotated[float, "of them read, mean over layers, questions and seeds"]
    drops_all: Annotated[int, "pictures of which a threshold alone would have dropped every token"]
    questions: int
    pictures: int
    enough_pictures: NotRequired[
        Annotated[bool, f"false where a task has fewer than {FEWEST_PICTURES}: not to be believed"]
    ]
    timing: Annotated[Latency | None, "null where no times were measured"]


@dataclass(frozen=True)
class Baselines:
    """The questions of a task, answered with all visual tokens (whole) and with none (blind): what every row
    is measured against.
    """

    examples: list[Example]
    whole: RunResult
    blind: RunResult

    def metrics(
        self, result: RunResult, references: Mapping[str, RunResult], resized: RunResult | None
    ) -> Metrics:
        """The metrics of a result: 95 % intervals over pictures, paired for the differences to
        `references`. `resized` are the answers to smaller pictures, which part easy questions from hard ones.
        """
        scores, unpruned, without = np.array(result.scores), self.whole.score, self.blind.score
        low, high = result.resampled.interval() if result.resampled else interval(scores, self.pictures)
        return {
            "accuracy": result.score,
            "low": low,
            "high": high,
            "unpruned": unpruned,
            "retention": result.score / unpruned if unpruned else None,
            "blind": without,
            "image_contribution": (unpruned - without) / without if without else None,
            "difference_to": {name: self._difference(result, each) for name, each in references.items()},
            "split": self._split(scores, resized) if resized and not result.resampled else None,
            "yes_ratio": self._yes_ratio(result),
            "by_type": {} if result.resampled else self._by_type(scores),
            "tokens_total": self.whole.tokens_kept,
            "tokens_kept": result.tokens_kept,
            "drops_all": result.drops_all,
            "questions": len(scores),
            "pictures": (pictures := len(set(self.pictures))),
            "enough_pictures": pictures >= FEWEST_PICTURES,
            "timing": result.timing,
        }

    @cached_property
    def pictures(self) -> list[str]:
        """What each question is about."""
        return [example.picture_id for example in self.examples]

    def _difference(self, result: RunResult, other: RunResult) -> Difference:
        if result.resampled and other.resampled:
            gap = result.resampled.minus(other.resampled)
            return [gap.value, *gap.interval()]
        gaps = np.array(result.scores) - np.array(other.scores)
        return [float(gaps.mean()), *interval(gaps, self.pictures, ends=DIFFERENCES)]

    def _yes_ratio(self, result: RunResult) -> float | None:
        right = [answer for example in self.examples for answer in example.answers]
        said = [text for texts in result.answers for text in texts]
        if not said or scorer_for(right, {}) != "yes_no":
            return None
        return fmean(score("yes_no", text, ("yes",), {}) for text in said)

    def _split(self, scores: Scores, resized: RunResult) -> Split:
        easy = np.array(resized.scores) >= RIGHT
        return {"easy": self._part(scores, easy), "hard": self._part(scores, ~easy)}

    def _part(self, scores: Scores, at: NDArray[np.bool_]) -> Part:
        """The part of the questions at `at`, which may be none."""
        if not at.any():
            return {"accuracy": None, "low": None, "high": None, "unpruned": None, "questions": 0}
        whole = np.array(self.whole.scores)
        return {
            **self._accuracy(scores, at),
            "unpruned": float(whole[at].mean()),
            "questions": int(at.sum()),
        }

    def _accuracy(self, scores: Scores, at: NDArray[np.bool_]) -> PartAccuracy:
        """Accuracy on the questions at `at`, of which there is one at least."""
        low, high = interval(scores[at], [name for name, here in zip(self.pictures, at, strict=True) if here])
        return {"accuracy": float(scores[at].mean()), "low": low, "high": high}

    def _by_type(self, scores: Scores) -> dict[str, ByType]:
        rows: dict[str, ByType] = {}
        for kind in sorted({example.type for example in self.examples}):
            at = np.array([example.type == kind for example in self.examples])
            answers = Counter(example.answer for example in self.examples if example.type == kind)
            rows[kind] = {
                **self._accuracy(scores, at),
                "blind": float(np.array(self.blind.scores)[at].mean()),
                "prior": max(answers.values()) / answers.total(),
                "questions": answers.total(),
            }
        return rows


def mean_metrics(
    baselines: Sequence[Baselines],
    results: Sequence[RunResult],
    references: Mapping[str, Sequence[RunResult]],
) -> Metrics:
    """The metrics of a pruner over several tasks: every task counts alike, few questions or many."""
    pictures = [each.pictures for each in baselines]
    wholes, blinds = [each.whole for each in baselines], [each.blind for each in baselines]
    counts = [len(set(names)) for names in pictures]
    low, high = interval_of_tasks(_scores(results), pictures)
    unpruned, blind = _mean(wholes), _mean(blinds)

    def difference(others: Sequence[RunResult]) -> Difference:
        gaps = [mine - theirs for mine, theirs in zip(_scores(results), _scores(others), strict=True)]
        return [_mean(results) - _mean(others), *interval_of_tasks(gaps, pictures, ends=DIFFERENCES)]

    return {
        "accuracy": _mean(results),
        "low": low,
        "high": high,
        "unpruned": unpruned,
        "retention": _mean_retention(results, wholes),
        "blind": blind,
        "image_contribution": (unpruned - blind) / blind if blind else None,
        "difference_to": {name: difference(others) for name, others in references.items()},
        "split": None,
        "yes_ratio": None,
        "by_type": {},
        "tokens_total": float(np.mean([each.tokens_kept for each in wholes])),
        "tokens_kept": float(np.mean([each.tokens_kept for each in results])),
        "drops_all": sum(each.drops_all for each in results),
        "questions": sum(map(len, pictures)),
        "pictures": sum(counts),
        "enough_pictures": min(counts) >= FEWEST_PICTURES,
        "timing": None,
    }


def _scores(results: Sequence[RunResult]) -> list[Scores]:
    return [np.array(each.scores) for each in results]


def _mean(results: Sequence[RunResult]) -> float:
    return float(np.mean([scores.mean() for scores in _scores(results)]))


def _mean_retention(results: Sequence[RunResult], wholes: Sequence[RunResult]) -> float | None:
    """None if the unpruned model is always wrong on one of the tasks."""
    pairs = list(zip(_scores(results), _scores(wholes), strict=True))
    if not all(whole.any() for _, whole in pairs):
        return None
    return float(np.mean([own.mean() / whole.mean() for own, whole in pairs]))
