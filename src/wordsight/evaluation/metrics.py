"""Rows: from the scores of every question to accuracy, intervals, differences and the easy and hard parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordsight.evaluation.result_cache import RunResult
from wordsight.evaluation.statistics import DIFFERENCES, Scores, interval, interval_of_tasks
from wordsight.tasks.base import Example

RIGHT = 0.5  # a question that scores at least so much counts as answered


@dataclass(frozen=True)
class Baselines:
    """The questions of a task, answered with all visual tokens (whole) and with none (blind): what every row
    is measured against.
    """

    examples: list[Example]
    whole: RunResult
    blind: RunResult

    def row(
        self, cell: RunResult, references: Mapping[str, RunResult], resized: RunResult | None
    ) -> dict[str, Any]:
        """The row of a cell: 95 % bootstrap intervals over pictures, paired for the differences to
        `references`. `resized` are the answers to smaller pictures, which part easy questions from hard ones.
        """
        scores, whole, blind = (np.array(each.scores) for each in (cell, self.whole, self.blind))
        low, high = interval(scores, self.pictures)
        unpruned, without = float(whole.mean()), float(blind.mean())
        return {
            "accuracy": float(scores.mean()),
            "low": low,
            "high": high,
            "unpruned": unpruned,
            "retention": float(scores.mean()) / unpruned if unpruned else None,
            "blind": without,
            "image_contribution": (unpruned - without) / without if without else None,
            "difference_to": {
                name: [
                    float((scores - other).mean()),
                    *interval(scores - other, self.pictures, ends=DIFFERENCES),
                ]
                for name, other in ((name, np.array(each.scores)) for name, each in references.items())
            },
            "split": self._split(scores, resized) if resized else None,
            "by_type": self._by_type(scores),
            "tokens_total": self.whole.tokens_kept,
            "tokens_kept": cell.tokens_kept,
            "rescued": cell.rescued,
            "questions": len(scores),
            "pictures": len(set(self.pictures)),
            "timing": cell.timing,
        }

    @cached_property
    def pictures(self) -> list[str]:
        """What each question is about."""
        return [example.picture_id for example in self.examples]

    def _part(self, scores: Scores, at: NDArray[np.bool_]) -> dict[str, float]:
        """Accuracy of the questions at `at`, which are not none."""
        low, high = interval(scores[at], [name for name, here in zip(self.pictures, at, strict=True) if here])
        return {"accuracy": float(scores[at].mean()), "low": low, "high": high}

    def _split(self, scores: Scores, resized: RunResult) -> dict[str, dict[str, Any]]:
        """VTC-Bench's split (https://arxiv.org/abs/2510.07143): a question is easy if the unpruned model
        answers it when the picture itself is resized, to the share of its pixels that is kept of its tokens.
        """
        easy = np.array(resized.scores) >= RIGHT
        whole = np.array(self.whole.scores)
        nothing = {"accuracy": None, "low": None, "high": None}
        return {
            name: {
                **(self._part(scores, at) if at.any() else nothing),
                "unpruned": float(whole[at].mean()) if at.any() else None,
                "questions": int(at.sum()),
            }
            for name, at in (("easy", easy), ("hard", ~easy))
        }

    def _by_type(self, scores: Scores) -> dict[str, dict[str, float]]:
        """Accuracy of every type of question, its blind score and the share of its commonest answer."""
        rows: dict[str, dict[str, float]] = {}
        for kind in sorted({example.type for example in self.examples}):
            at = np.array([example.type == kind for example in self.examples])
            answers = Counter(example.answer for example in self.examples if example.type == kind)
            rows[kind] = {
                **self._part(scores, at),
                "blind": float(np.array(self.blind.scores)[at].mean()),
                "prior": max(answers.values()) / answers.total(),
                "questions": answers.total(),
            }
        return rows


def mean_row(
    sticks: Sequence[Baselines], cells: Sequence[RunResult], references: Mapping[str, Sequence[RunResult]]
) -> dict[str, Any]:
    """The row of a pruner's cells on several tasks: every task counts alike, few questions or many."""
    pictures = [stick.pictures for stick in sticks]

    def scores(of: Sequence[RunResult]) -> list[Scores]:
        return [np.array(cell.scores) for cell in of]

    def mean(of: Sequence[RunResult]) -> float:
        return float(np.mean([one.mean() for one in scores(of)]))

    def difference(others: Sequence[RunResult]) -> list[float]:
        gaps = [mine - theirs for mine, theirs in zip(scores(cells), scores(others), strict=True)]
        return [mean(cells) - mean(others), *interval_of_tasks(gaps, pictures, ends=DIFFERENCES)]

    low, high = interval_of_tasks(scores(cells), pictures)
    pairs = list(zip(scores(cells), scores([stick.whole for stick in sticks]), strict=True))
    possible = all(whole.any() for _, whole in pairs)
    unpruned, blind = mean([stick.whole for stick in sticks]), mean([stick.blind for stick in sticks])
    return {
        "accuracy": mean(cells),
        "low": low,
        "high": high,
        "unpruned": unpruned,
        "retention": float(np.mean([own.mean() / whole.mean() for own, whole in pairs]))
        if possible
        else None,
        "blind": blind,
        "image_contribution": (unpruned - blind) / blind if blind else None,
        "difference_to": {name: difference(others) for name, others in references.items()},
        "split": None,
        "by_type": {},
        "tokens_total": float(np.mean([stick.whole.tokens_kept for stick in sticks])),
        "tokens_kept": float(np.mean([cell.tokens_kept for cell in cells])),
        "rescued": sum(cell.rescued for cell in cells),
        "questions": sum(map(len, pictures)),
        "pictures": sum(len(set(about)) for about in pictures),
        "timing": None,
    }
