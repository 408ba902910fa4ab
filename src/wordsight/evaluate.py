"""Compare: tasks x pruners x keeps on one model, in one run, with intervals that respect pictures."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wordsight.atomic import replacing
from wordsight.plugins import spec
from wordsight.progress import watched
from wordsight.pruners.base import Pruner
from wordsight.pruners.random import Random
from wordsight.sheet import Scores, Sheet, seeded
from wordsight.tasks.base import Task
from wordsight.vlm import VLM


@dataclass
class Results:
    """One row per task, pruner and keep, and the environment of the run."""

    rows: list[dict[str, Any]]
    environment: dict[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write both as JSON, whole or not at all."""
        with replacing(Path(path)) as draft:
            draft.write_text(
                json.dumps({"rows": self.rows, "environment": self.environment}, indent=1) + "\n"
            )


def compare(
    vlm: VLM, tasks: Sequence[Task], pruners: Sequence[Pruner], *, limit: int | None = None
) -> Results:
    """Accuracy of the unpruned model and of every pruner, on the first `limit` questions of each task.

    Every picture is encoded once and pruned once per method. A pruner that draws runs with three seeds,
    averaged. Intervals are 95 % bootstraps over pictures, paired where two methods are compared: each row
    tells its difference to the unpruned model and to random tokens at the same keep, where `pruners` has
    them.
    """
    for pruner in pruners:
        pruner.check(vlm)
    needs = frozenset().union(*(pruner.needs for pruner in pruners))
    rows: list[dict[str, Any]] = []
    for task in tasks:
        sheet = Sheet.of(vlm, task, task.first(limit), collect=needs)
        total = float(np.mean([len(prompt.visual) for prompt in sheet.prompts]))
        rows.append(
            _row(sheet, sheet.whole, {}) | {"pruner": "none", "keep": 1.0, "tokens_kept": total, "seeds": 1}
        )
        drawn: dict[str, Scores] = {}
        # Keep by keep, random tokens first: the others are compared with them.
        keeps = [repr(pruner.keep) for pruner in pruners]
        ordered = sorted(
            pruners, key=lambda pruner: (keeps.index(repr(pruner.keep)), not isinstance(pruner, Random))
        )
        for pruner in watched(ordered, f"pruning for {spec(task)}", len(ordered)):
            scores, kept = sheet.run(pruner)
            keep = repr(pruner.keep)  # 1 is one token, 1.0 all of them
            # A threshold keeps another number of tokens than random tokens at this keep.
            is_fixed = getattr(pruner, "threshold", None) is None
            references = {"random": drawn[keep]} if is_fixed and keep in drawn else {}
            row = _row(sheet, scores, {"none": sheet.whole, **references})
            record = {
                "pruner": spec(pruner),
                "keep": pruner.keep,
                "tokens_kept": kept,
                "seeds": len(seeded(pruner)),
            }
            rows.append(row | record)
            if isinstance(pruner, Random):
                drawn[keep] = scores
    return Results(rows, environment(vlm))


def environment(vlm: VLM) -> dict[str, Any]:
    """What a reader needs to know to run it again."""
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "model": vlm.name,
        "fingerprint": vlm.fingerprint,
        "dtype": str(vlm.model.dtype),
        "device": vlm.model.device.type,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("wordsight", "torch", "transformers")},
    }


def _row(sheet: Sheet, scores: Scores, references: dict[str, Scores]) -> dict[str, Any]:
    low, high = sheet.interval(scores)
    whole = float(sheet.whole.mean())
    return {
        "task": spec(sheet.task),
        "accuracy": float(scores.mean()),
        "low": low,
        "high": high,
        "retention": float(scores.mean()) / whole if whole else None,
        "blind": float(sheet.blind.mean()),
        "difference_to": {
            name: [float((scores - other).mean()), *sheet.interval(scores - other)]
            for name, other in references.items()
        },
        "by_type": _by_type(sheet, scores),
        "tokens_total": float(np.mean([len(prompt.visual) for prompt in sheet.prompts])),
        "questions": len(scores),
        "pictures": len({example.picture_id for example in sheet.examples}),
    }


def _by_type(sheet: Sheet, scores: Scores) -> dict[str, dict[str, float]]:
    """Accuracy of every type of question, beside the blind score and the share of its commonest answer."""
    rows: dict[str, dict[str, float]] = {}
    for kind in sorted({example.type for example in sheet.examples}):
        at = np.array([example.type == kind for example in sheet.examples])
        answers = Counter(example.answer for example in sheet.examples if example.type == kind)
        low, high = sheet.interval(scores, at)
        rows[kind] = {
            "accuracy": float(scores[at].mean()),
            "low": low,
            "high": high,
            "blind": float(sheet.blind[at].mean()),
            "prior": max(answers.values()) / answers.total(),
            "questions": answers.total(),
        }
    return rows
