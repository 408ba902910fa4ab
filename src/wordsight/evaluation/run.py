"""Run: one task on one model with several pruners, measured, or found where an earlier run left it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from wordsight._utils.progress import watched
from wordsight._utils.registry import spec
from wordsight.evaluation.latency import Timing
from wordsight.evaluation.metrics import Yardstick, mean_row
from wordsight.evaluation.prepared_task import Sheet, seeded
from wordsight.evaluation.result_cache import Cell, Cells
from wordsight.media.resize import resized
from wordsight.models.prompt import Prompt
from wordsight.models.tokens import VisualTokens
from wordsight.models.vlm import VLM
from wordsight.pruners.base import BookPruner, Pruner
from wordsight.tasks.base import Example, Task


@dataclass(frozen=True)
class Line:
    """What was measured of one pruner at one keep on one task."""

    pruner: str
    keep: float | int
    cell: Cell
    seeds: int = 1
    meets_keep: bool = True


@dataclass(frozen=True)
class Run:
    """The questions of a task, a model, and the pruners to compare, those of one keep together."""

    vlm: VLM
    task: Task
    examples: list[Example]
    pruners: Sequence[Pruner]
    cells: Cells
    timing: Timing | None = None

    @cached_property
    def stick(self) -> Yardstick:
        """What every row is measured against."""
        return Yardstick(self.examples, self._whole(), self._blind())

    @cached_property
    def lines(self) -> list[Line]:
        """The unpruned model, and keep by keep resized pictures and every pruner."""
        found = [Line("none", 1.0, self.stick.whole)]
        for pruner in watched(self.pruners, f"pruning for {spec(self.task)}", len(self.pruners)):
            if repr(pruner.keep) not in {repr(line.keep) for line in found if line.pruner == "resized"}:
                found.append(Line("resized", pruner.keep, self._resized(pruner.keep)))
            cell, seeds = self._pruned(pruner), len(seeded(pruner))
            found.append(Line(spec(pruner), pruner.keep, cell, seeds, pruner.meets_keep))
        return found

    def rows(self, reference: str | None) -> Iterator[dict[str, Any]]:
        """A row for each line, with its difference to the unpruned model and to the pruner of the SPEC
        `reference` at the same keep, where there is one.
        """
        resized = {repr(line.keep): line.cell for line in self.lines if line.pruner == "resized"}
        for line, others in _compared(self.lines, reference):
            references = {name: self.lines[i].cell for name, i in others.items()}
            split = None if line.pruner in ("none", "resized") else resized[repr(line.keep)]
            yield self.about(line) | self.stick.row(line.cell, references, split)

    def forget(self) -> None:
        """Let go of the encoded pictures; what was measured stays."""
        vars(self).pop("_sheet", None)

    def about(self, line: Line) -> dict[str, Any]:
        """What tells a row from others."""
        return {
            "model": self.vlm.name,
            "task": spec(self.task),
            "tasks": 1,
            "pruner": line.pruner,
            "keep": line.keep,
            "seeds": line.seeds,
        }

    @cached_property
    def _sheet(self) -> Sheet:
        """Encoded when the first cell is measured: a run whose cells are all there reads no picture."""
        needs = frozenset().union(*(pruner.needs for pruner in self.pruners))
        return Sheet.of(self.vlm, self.task, self.examples, collect=needs)

    def _cell(
        self, name: str, keep: float | int, measure: Callable[[], Cell], book: str | None = None
    ) -> Cell:
        place = {"model": self.vlm.name, "task": spec(self.task), "pruner": name, "keep": repr(keep)}
        model = {
            "fingerprint": self.vlm.fingerprint,
            "dtype": str(self.vlm.model.dtype),
            "device": self.vlm.model.device.type,
        }
        return self.cells.cell(place, {**model, "questions": self._questions, "codebook": book}, measure)

    @cached_property
    def _questions(self) -> str:
        """What tells these questions from others under the same name."""
        asked = [(example.picture_id, example.question, example.answer) for example in self.examples]
        return hashlib.sha256(repr(asked).encode()).hexdigest()[:16]

    def _whole(self) -> Cell:
        def measure() -> Cell:
            return self._measured(self._sheet.whole.tolist(), _mean_tokens(self._sheet.prompts), None)

        return self._cell("none", 1.0, measure)

    def _blind(self) -> Cell:
        return self._cell("blind", 0, lambda: Cell(self._sheet.blind.tolist(), 0.0))

    def _resized(self, keep: float | int) -> Cell:
        def measure() -> Cell:
            smaller = [
                replace(example, images=resized(example.images, _share(keep, prompt.visual)))
                for example, prompt in zip(self.examples, self._sheet.prompts, strict=True)
            ]
            sheet = Sheet.of(self.vlm, self.task, smaller)
            return Cell(sheet.whole.tolist(), _mean_tokens(sheet.prompts))

        return self._cell("resized", keep, measure)

    def _pruned(self, pruner: Pruner) -> Cell:
        def measure() -> Cell:
            scores, kept = self._sheet.run(pruner)
            return self._measured(scores.tolist(), kept, pruner)

        book = pruner.book.digest if isinstance(pruner, BookPruner) else None
        return self._cell(spec(pruner), pruner.keep, measure, book)

    def _measured(self, scores: list[float], kept: float, pruner: Pruner | None) -> Cell:
        pairs = zip(self.examples, self._sheet.prompts, strict=True)
        seen = {example.picture_id: prompt.visual for example, prompt in pairs}
        rescued = sum(pruner.would_empty(tokens) for tokens in seen.values()) if pruner else 0
        timing = self.timing.measure(self.vlm, self.examples, pruner) if self.timing else None
        return Cell(scores, kept, rescued, timing)


def mean_rows(runs: Sequence[Run], reference: str | None) -> Iterator[dict[str, Any]]:
    """A row for each line of these runs, on one model: the mean over their tasks."""
    sticks = [run.stick for run in runs]
    for i, (line, others) in enumerate(_compared(runs[0].lines, reference)):
        references = {name: [run.lines[j].cell for run in runs] for name, j in others.items()}
        row = mean_row(sticks, [run.lines[i].cell for run in runs], references)
        told = {"task": f"mean of {len(runs)} tasks", "tasks": len(runs)}
        yield runs[0].about(line) | told | row


def _compared(lines: Sequence[Line], reference: str | None) -> Iterator[tuple[Line, dict[str, int]]]:
    """Every line, and the numbers of the lines that it is compared with, by name; the first is the unpruned
    model's.
    """
    at = {(line.pruner, repr(line.keep)): i for i, line in enumerate(lines)}
    for i, line in enumerate(lines):
        others = {"none": 0} if i else {}
        other = at.get((reference or "", repr(line.keep)))
        if other is not None and line.meets_keep and line.pruner != reference:
            others[lines[other].pruner] = other
        yield line, others


def _mean_tokens(prompts: list[Prompt]) -> float:
    return float(np.mean([len(prompt.visual) for prompt in prompts]))


def _share(keep: float | int, tokens: VisualTokens) -> float:
    """What share of the picture's tokens is kept, line breaks not counted."""
    return keep if isinstance(keep, float) else min(1.0, keep / int((~tokens.is_break).sum()))
