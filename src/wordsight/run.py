"""Run: one task on one model with several pruners, measured, or found where an earlier run left it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from wordsight.cells import Cell, Cells
from wordsight.plugins import spec
from wordsight.progress import watched
from wordsight.prompt import Prompt
from wordsight.pruners.base import BookPruner, Pruner
from wordsight.resize import resized
from wordsight.rows import Yardstick
from wordsight.sheet import Sheet, seeded
from wordsight.tasks.base import Example, Task
from wordsight.timing import Timing
from wordsight.tokens import VisualTokens
from wordsight.vlm import VLM


@dataclass(frozen=True)
class Run:
    """The questions of a task, a model, and the pruners to compare, those of one keep together."""

    vlm: VLM
    task: Task
    examples: list[Example]
    pruners: Sequence[Pruner]
    cells: Cells
    timing: Timing | None = None

    def rows(self, reference: str | None) -> Iterator[dict[str, Any]]:
        """The rows of the unpruned model, and keep by keep of resized pictures and of every pruner.

        Each tells its difference to the unpruned model and to the pruner of the SPEC `reference` at the same
        keep, where there is one.
        """
        whole, blind = self._whole(), self._blind()
        resized = {repr(pruner.keep): self._resized(pruner.keep) for pruner in self.pruners}
        work = watched(self.pruners, f"pruning for {spec(self.task)}", len(self.pruners))
        pruned = [(pruner, self._pruned(pruner)) for pruner in work]
        at_keep = {
            repr(pruner.keep): {spec(pruner): cell} for pruner, cell in pruned if spec(pruner) == reference
        }
        yardstick = Yardstick(self.examples, whole, blind)
        yield self._about("none", 1.0) | yardstick.row(whole, {}, None)
        told = set()
        for pruner, cell in pruned:
            keep = repr(pruner.keep)
            others = at_keep.get(keep, {})
            if keep not in told:
                row = yardstick.row(resized[keep], {"none": whole, **others}, None)
                yield self._about("resized", pruner.keep) | row
                told.add(keep)
            # A threshold keeps another number of tokens than others at this keep.
            is_fixed = getattr(pruner, "threshold", None) is None and spec(pruner) != reference
            row = yardstick.row(cell, {"none": whole, **(others if is_fixed else {})}, resized[keep])
            yield self._about(spec(pruner), pruner.keep) | {"seeds": len(seeded(pruner))} | row

    def _about(self, pruner: str, keep: float | int) -> dict[str, Any]:
        return {
            "model": self.vlm.name,
            "task": spec(self.task),
            "pruner": pruner,
            "keep": keep,
            "seeds": 1,
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


def _mean_tokens(prompts: list[Prompt]) -> float:
    return float(np.mean([len(prompt.visual) for prompt in prompts]))


def _share(keep: float | int, tokens: VisualTokens) -> float:
    """What share of the picture's tokens is kept, line breaks not counted."""
    return keep if isinstance(keep, float) else min(1.0, keep / int((~tokens.is_break).sum()))
