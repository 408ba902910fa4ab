"""Tables: what the rows of a comparison say, cell by cell, whatever they are shown in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from wordsight._utils.numbers import percent, signed
from wordsight.evaluation.latency import RATIOS, STAGES, is_gain
from wordsight.evaluation.statistics import ENOUGH

Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """A title, the names of the columns, the cells row by row, and what has to be said below."""

    title: str
    head: tuple[str, ...]
    body: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()


def tables(rows: Sequence[Row]) -> list[Table]:
    """All that the rows say: accuracies, what the pictures add, and times where they were measured."""
    timed = [row for row in rows if row["timing"]]
    return [summary(rows), comparison(rows), contributions(rows), *([times(timed)] if timed else [])]


def summary(rows: Sequence[Row]) -> Table:
    """A line for every pruner, a column for every keep: accuracy on the task, or the mean over tasks."""
    most = max((row["tasks"] for row in rows), default=1)
    whose: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["tasks"] == most:
            whose.setdefault(_whose(row), []).append(row)
    keeps = list(dict.fromkeys(_keep(row["keep"]) for row in rows if row["pruner"] != "none"))
    body, notes = [], []
    for about, own in whose.items():
        pruners = dict.fromkeys(row["pruner"] for row in own)
        notes += [told for pruner in pruners if (told := _more_read(pruner, own))]
        found = {(row["pruner"], _keep(row["keep"])): _accuracy(row) for row in own}
        for pruner in pruners:
            at = [found.get((pruner, "100%" if pruner == "none" else keep), "") for keep in keeps]
            body.append((*about, pruner, *at))
        body.append((*about, "(blind)", *(f"{own[0]['blind']:.3f}" for _ in keeps)))
    head = ("model", "task", "pruner", *keeps)
    return _without_one_model(Table("By keep, accuracy [95 %]", head, body, tuple(notes)))


def _more_read(pruner: str, rows: Sequence[Row]) -> str:
    """What has to be said of a pruner that reads more tokens than its keep."""
    more = [
        row for row in rows if row["pruner"] == pruner and row["tokens_kept"] > max(1, 1.1 * _budget(row))
    ]
    if not more:
        return ""
    counts = ", ".join(f"{row['tokens_kept']:.1f} at {_keep(row['keep'])}" for row in more)
    return f"{pruner} reads {counts}, of {more[0]['tokens_total']:.1f} tokens (the mean over layers)."


def _budget(row: Row) -> float:
    keep = row["keep"]
    return float(keep * row["tokens_total"] if isinstance(keep, float) else keep)


def comparison(rows: Sequence[Row]) -> Table:
    """Accuracy of every pruner; the blind score of a task is its last line."""
    others = sorted({name for row in rows for name in row["difference_to"]} - {"none"})
    head = (
        *("model", "task", "pruner", "keep", "tokens", "accuracy [95 %]", "kept quality"),
        *(f"minus {name} [95 %]" for name in ("unpruned", *others)),
        *("easy (questions)", "hard (questions)"),
    )
    body: list[tuple[str, ...]] = []
    for i, row in enumerate(rows):
        differences = [signed(row["difference_to"].get(name)) for name in ("none", *others)]
        body.append(
            (
                *_about(row),
                f"{row['tokens_kept']:.1f}",
                _accuracy(row),
                percent(row["retention"]),
                *differences,
                _part(row["split"], "easy"),
                _part(row["split"], "hard"),
            )
        )
        if i + 1 == len(rows) or _whose(rows[i + 1]) != _whose(row):
            blind = (*_whose(row), "(blind)", "0%", "0.0", f"{row['blind']:.3f}")
            body.append(blind + ("",) * (len(head) - len(blind)))
    few = {
        (row["task"], row["questions"], row["pictures"])
        for row in rows
        if row["tasks"] == 1 and row["pictures"] < ENOUGH
    }
    notes = [
        f"{task}: {questions} questions about {pictures} pictures; intervals over fewer than {ENOUGH} "
        "pictures are too narrow to be believed."
        for task, questions, pictures in sorted(few)
    ]
    notes += [
        f"{row['pruner']} at keep {_keep(row['keep'])} on {row['task']}: the threshold alone would have "
        f"dropped all tokens of {row['rescued']} of {row['pictures']} pictures; one of each was kept."
        for row in rows
        if row["rescued"]
    ]
    return _without_one_model(Table("Accuracy", head, body, tuple(notes)))


def contributions(rows: Sequence[Row]) -> Table:
    """How much of a score the pictures are worth: (all - blind) / blind."""
    head = (
        "model",
        "task",
        "questions",
        "pictures",
        "all visual tokens",
        "none (blind)",
        "image contribution",
    )
    first = {_whose(row): row for row in reversed(rows)}
    body = [
        (
            *whose,
            f"{row['questions']}",
            f"{row['pictures']}",
            f"{row['unpruned']:.3f}",
            f"{row['blind']:.3f}",
            percent(row["image_contribution"]),
        )
        for whose, row in reversed(first.items())
    ]
    return _without_one_model(Table("What the pictures add", head, body))


def times(rows: Sequence[Row]) -> Table:
    """Milliseconds a question, their ratio to the unpruned model's, and the work that was counted."""
    head = ("model", "task", "pruner", "keep", "batch", *(f"{stage} ms" for stage in (*STAGES, "total")))
    head += (*(f"{stage} ratio" for stage in RATIOS), "KV cache MB", "prefill GFLOPs", "peak memory MB")
    body = [
        (
            *_about(row),
            f"{taken['batch']}",
            *(f"{taken['milliseconds'][stage]:.1f}" for stage in (*STAGES, "total")),
            *(_ratio(taken["ratio"], stage) for stage in RATIOS),
            f"{taken['kv_cache_bytes'] / 1e6:.2f}",
            f"{taken['prefill_flops'] / 1e9:.2f}",
            f"{taken['peak_memory_bytes'] / 1e6:.0f}" if taken["peak_memory_bytes"] else "-",
        )
        for row in rows
        for taken in row["timing"]["batches"]
    ]
    rounds = rows[0]["timing"]["rounds"]
    said = (
        f"Medians of {rounds} rounds in which the unpruned and the pruned model take turns; ratios are those "
        "of pruned to unpruned, with the 95 % interval of their median. Where it reaches 1 there is no gain."
    )
    reasons = {taken["peak_memory_note"] for row in rows for taken in row["timing"]["batches"]} - {None}
    untold = (f"Peak memory is not told: {reason}." for reason in reasons)
    return _without_one_model(Table("Time and memory", head, body, (said, *untold)))


def _without_one_model(table: Table) -> Table:
    """The table without its first column, if that names one model all along."""
    if len({cells[0] for cells in table.body}) > 1:
        return table
    return replace(table, head=table.head[1:], body=[cells[1:] for cells in table.body])


def _accuracy(row: Row) -> str:
    return f"{row['accuracy']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _about(row: Row) -> tuple[str, ...]:
    return (*_whose(row), row["pruner"], _keep(row["keep"]))


def _whose(row: Row) -> tuple[str, str]:
    return row["model"], row["task"]


def _keep(keep: float | int) -> str:
    return f"{100 * keep:.4g}%" if isinstance(keep, float) else str(keep)


def _part(split: dict[str, Any] | None, name: str) -> str:
    """Accuracy on the easy or the hard questions and how many they are."""
    if split is None:
        return ""
    part = split[name]
    return f"{part['accuracy']:.3f} ({part['questions']})" if part["questions"] else "- (0)"


def _ratio(ratios: dict[str, list[float]] | None, stage: str) -> str:
    if ratios is None:
        return ""
    middle, low, high = ratios[stage]
    told = f"{middle:.2f} [{low:.2f}, {high:.2f}]"
    return told if is_gain(ratios[stage]) else f"no gain: {told}"
