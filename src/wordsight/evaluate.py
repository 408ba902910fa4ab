"""Compare: tasks x pruners x keeps on one model, in one run, with intervals that respect pictures."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wordsight.atomic import replacing
from wordsight.plugins import spec
from wordsight.progress import watched
from wordsight.prompt import Prompt
from wordsight.pruners.base import Pruner
from wordsight.pruners.random import Random
from wordsight.tasks.base import Example, Task
from wordsight.tokens import VisualTokens
from wordsight.vlm import VLM

RESAMPLES = 2000
SEEDS = (0, 1, 2)  # of random tokens
Scores = NDArray[np.float64]


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


@dataclass(frozen=True)
class _Sheet:
    """A task laid out for one model: its examples, their unpruned prompts, the model's answers to them and
    blind.
    """

    task: Task
    examples: list[Example]
    prompts: list[Prompt]
    whole: Scores
    blind: Scores


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
    rows: list[dict[str, Any]] = []
    for task in tasks:
        sheet = _lay_out(vlm, task, pruners, limit)
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
            scores, kept = _run(vlm, sheet, pruner)
            keep = repr(pruner.keep)  # 1 is one token, 1.0 all of them
            # A threshold keeps another number of tokens than random tokens at this keep.
            is_fixed = getattr(pruner, "threshold", None) is None
            references = {"random": drawn[keep]} if is_fixed and keep in drawn else {}
            row = _row(sheet, scores, {"none": sheet.whole, **references})
            record = {
                "pruner": spec(pruner),
                "keep": pruner.keep,
                "tokens_kept": kept,
                "seeds": len(_seeded(pruner)),
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


def _lay_out(vlm: VLM, task: Task, pruners: Sequence[Pruner], limit: int | None) -> _Sheet:
    needs = frozenset().union(*(pruner.needs for pruner in pruners))
    examples = task.first(limit)
    seen: dict[str, VisualTokens] = {}
    prompts = []
    for example in watched(examples, f"reading {spec(task)}", len(examples)):
        known = seen.get(example.picture_id)
        prompt = vlm.encode(example.picture, example.question, collect=needs, seen=known)
        seen[example.picture_id] = prompt.visual
        prompts.append(prompt)
    sheet = _Sheet(task, examples, prompts, np.zeros(0), np.zeros(0))
    nothing = [
        replace(prompt, visual=prompt.visual.take(torch.zeros(0, dtype=torch.long))) for prompt in prompts
    ]
    return replace(sheet, whole=_score(vlm, sheet, prompts), blind=_score(vlm, sheet, nothing))


def _run(vlm: VLM, sheet: _Sheet, pruner: Pruner) -> tuple[Scores, float]:
    """The score of every example, mean over seeds, and the mean number of tokens kept."""
    totals, counts = np.zeros(len(sheet.examples)), []
    for seeded in _seeded(pruner):
        kept: dict[str, VisualTokens] = {}
        prompts = []
        for example, prompt in zip(sheet.examples, sheet.prompts, strict=True):
            if example.picture_id not in kept:
                kept[example.picture_id] = seeded.prune(prompt.visual)
            prompts.append(seeded.place(prompt, kept[example.picture_id]))
        totals += _score(vlm, sheet, prompts)
        counts += [len(prompt.visual) for prompt in prompts]
    return totals / len(_seeded(pruner)), float(np.mean(counts))


def _seeded(pruner: Pruner) -> list[Pruner]:
    return [replace(pruner, seed=seed) for seed in SEEDS] if isinstance(pruner, Random) else [pruner]


def _score(vlm: VLM, sheet: _Sheet, prompts: list[Prompt]) -> Scores:
    said = [
        text
        for batch in _batches(vlm, prompts)
        for text in vlm.generate(batch, max_new_tokens=sheet.task.max_new_tokens)
    ]
    pairs = zip(sheet.examples, said, strict=True)
    return np.array([sheet.task.score(example, text) for example, text in pairs])


def _batches(vlm: VLM, prompts: list[Prompt]) -> Iterator[list[Prompt]]:
    """As many prompts at a time as fit into the tokens of one pass."""
    batch: list[Prompt] = []
    longest = 0
    for prompt in prompts:
        length = int(prompt.is_kept().sum())
        if batch and max(longest, length) * (len(batch) + 1) > vlm.pass_tokens:
            yield batch
            batch, longest = [], 0
        batch, longest = [*batch, prompt], max(longest, length)
    if batch:
        yield batch


def _row(sheet: _Sheet, scores: Scores, references: dict[str, Scores]) -> dict[str, Any]:
    low, high = interval(scores, sheet.examples)
    whole = float(sheet.whole.mean())
    return {
        "task": spec(sheet.task),
        "accuracy": float(scores.mean()),
        "low": low,
        "high": high,
        "retention": float(scores.mean()) / whole if whole else None,
        "blind": float(sheet.blind.mean()),
        "difference_to": {
            name: [float((scores - other).mean()), *interval(scores - other, sheet.examples)]
            for name, other in references.items()
        },
        "by_type": _by_type(sheet, scores),
        "tokens_total": float(np.mean([len(prompt.visual) for prompt in sheet.prompts])),
        "questions": len(scores),
        "pictures": len({example.picture_id for example in sheet.examples}),
    }


def _by_type(sheet: _Sheet, scores: Scores) -> dict[str, dict[str, float]]:
    """Accuracy of every type of question, beside the blind score and the share of its commonest answer."""
    rows: dict[str, dict[str, float]] = {}
    for kind in sorted({example.type for example in sheet.examples}):
        at = np.array([example.type == kind for example in sheet.examples])
        chosen = [example for example, here in zip(sheet.examples, at, strict=True) if here]
        low, high = interval(scores[at], chosen)
        commonest = Counter(example.answer for example in chosen).most_common(1)[0][1]
        rows[kind] = {
            "accuracy": float(scores[at].mean()),
            "low": low,
            "high": high,
            "blind": float(sheet.blind[at].mean()),
            "prior": commonest / len(chosen),
            "questions": len(chosen),
        }
    return rows


def interval(scores: Iterable[float], examples: Sequence[Example]) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean, resampling pictures: questions about one picture are not
    independent.
    """
    pictures = sorted({example.picture_id for example in examples})
    place = {picture: i for i, picture in enumerate(pictures)}
    index = [place[example.picture_id] for example in examples]
    totals = np.bincount(index, weights=np.fromiter(scores, float), minlength=len(pictures))
    counts = np.bincount(index, minlength=len(pictures))
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(pictures), np.full(len(pictures), 1 / len(pictures)), RESAMPLES)
    means = (weights @ totals) / (weights @ counts)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
