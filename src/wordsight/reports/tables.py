"""Tables: the rows of a comparison as cells of text, for every format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from wordsight._utils.numbers import counted, percent, signed, with_interval
from wordsight.evaluation.latency import RATIOS, SPANS, Span, is_gain
from wordsight.evaluation.metrics import UNPRUNED, Part
from wordsight.evaluation.results import Row
from wordsight.evaluation.statistics import FEWEST_PICTURES, Interval


@dataclass(frozen=True)
class Table:
    """A title, the names of the columns, the cells row by row, and the notes below; the first `keys` columns
    tell a row from the others.
    """

    title: str
    head: tuple[str, ...]
    body: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()
    keys: int = 1


def tables(rows: Sequence[Row]) -> list[Table]:
    """All tables of the rows: accuracies, what the pictures add, how often yes is said where that or no is
    right, and times where they were measured.
    """
    timed = [row for row in rows if row["timing"]]
    asked = [row for row in rows if row.get("yes_ratio") is not None]
    found = [summary(rows), comparison(rows), contributions(rows)]
    return found + ([yes_ratios(asked)] if asked else []) + ([times(timed)] if timed else [])


def summary(rows: Sequence[Row]) -> Table:
    """A line for every pruner, a column for every keep: accuracy on the task, or the mean over tasks."""
    most = max((row["tasks"] for row in rows), default=1)
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["tasks"] == most:
            groups.setdefault(_model_and_task(row), []).append(row)
    keeps = list(dict.fromkeys(_keep(row) for row in rows if row["pruner"] != UNPRUNED))
    body, notes = [], []
    for group, own in groups.items():
        pruners = dict.fromkeys(row["pruner"] for row in own)
        notes += [note for pruner in pruners if (note := _more_read(pruner, own))]
        accuracies = {(row["pruner"], _keep(row)): _accuracy(row) for row in own}
        for pruner in pruners:
            at = [accuracies.get((pruner, "100%" if pruner == UNPRUNED else keep), "") for keep in keeps]
            body.append((*group, pruner, *at))
        body.append((*group, "(blind)", *(f"{own[0]['blind']:.3f}" for _ in keeps)))
    head = ("model", "task", "pruner", *keeps)
    return _without_one_model(Table("By keep, accuracy [95 %]", head, body, tuple(notes), keys=3))


def _more_read(pruner: str, rows: Sequence[Row]) -> str:
    """The note on a pruner that reads more tokens than its keep, empty for another."""
    more = [
        row for row in rows if row["pruner"] == pruner and row["tokens_kept"] > max(1, 1.1 * _budget(row))
    ]
    if not more:
        return ""
    counts = ", ".join(f"{row['tokens_kept']:.1f} at {_keep(row)}" for row in more)
    return f"{pruner} reads {counts}, of {more[0]['tokens_total']:.1f} tokens (the mean over layers)."


def _budget(row: Row) -> float:
    """How many tokens were to be kept."""
    if row["keep"] is not None:
        return row["keep"] * row["tokens_total"]
    assert row["tokens"] is not None, "one of the two is given"
    return row["tokens"]


def comparison(rows: Sequence[Row]) -> Table:
    """Accuracy of every pruner; the blind score of a task is its last line."""
    others = sorted({name for row in rows for name in row["difference_to"]} - {UNPRUNED})
    head = (
        *("model", "task", "pruner", "keep", "tokens", "accuracy [95 %]", "kept quality"),
        *(f"minus {name} [95 %]" for name in ("unpruned", *others)),
        *("easy (questions)", "hard (questions)"),
    )
    body: list[tuple[str, ...]] = []
    for i, row in enumerate(rows):
        differences = [signed(row["difference_to"].get(name)) for name in (UNPRUNED, *others)]
        body.append(
            (
                *_key(row),
                f"{row['tokens_kept']:.1f}",
                _accuracy(row),
                percent(row["retention"]),
                *differences,
                *((_part(row["split"]["easy"]), _part(row["split"]["hard"])) if row["split"] else ("", "")),
            )
        )
        if i + 1 == len(rows) or _model_and_task(rows[i + 1]) != _model_and_task(row):
            blind = (*_model_and_task(row), "(blind)", "0%", "0.0", f"{row['blind']:.3f}")
            body.append(blind + ("",) * (len(head) - len(blind)))
    asked = {(row["task"], row["questions"], row["pictures"]) for row in rows if row["tasks"] == 1}
    notes = [
        f"{task}, {questions} questions: {too_few(pictures)}"
        for task, questions, pictures in sorted(asked)
        if pictures < FEWEST_PICTURES
    ]
    notes += [
        f"{row['pruner']} at keep {_keep(row)} on {row['task']}: the threshold alone would have "
        f"dropped all tokens of {row['drops_all']} of {counted(row['pictures'], 'picture')}; one of each was "
        "kept."
        for row in rows
        if row["drops_all"]
    ]
    return _without_one_model(Table("Accuracy", head, body, tuple(notes), keys=4))


def contributions(rows: Sequence[Row]) -> Table:
    """How much of a score is due to the pictures."""
    head = (
        "model",
        "task",
        "questions",
        "pictures",
        "all visual tokens",
        "none (blind)",
        "added by the pictures",
    )
    first = {_model_and_task(row): row for row in reversed(rows)}
    body = [
        (
            *group,
            f"{row['questions']}",
            f"{row['pictures']}",
            f"{row['unpruned']:.3f}",
            f"{row['blind']:.3f}",
            f"{row['unpruned'] - row['blind']:+.3f}",
        )
        for group, row in reversed(first.items())
    ]
    return _without_one_model(Table("What the pictures add", head, body, keys=2))


def yes_ratios(rows: Sequence[Row]) -> Table:
    """How often yes is said, where all right answers are yes or no."""
    body = [(*_key(row), f"{row['yes_ratio']:.3f}") for row in rows]
    return _without_one_model(
        Table("Answers that are yes", ("model", "task", "pruner", "keep", "share"), body, keys=4)
    )


def times(rows: Sequence[Row]) -> Table:
    """Milliseconds a question, their ratio to the unpruned model's, and the work that was counted."""
    head = ("model", "task", "pruner", "keep", "batch", *(f"{span} ms" for span in SPANS))
    head += (*(f"{span} ratio" for span in RATIOS), "KV cache MB", "prefill GFLOPs", "peak memory MB")
    timed = [(row, row["timing"]) for row in rows if row["timing"]]
    body = [
        (
            *_key(row),
            f"{taken['batch']}",
            *(f"{taken['milliseconds'][span]:.1f}" for span in SPANS),
            *(_ratio(taken["ratio"], span) for span in RATIOS),
            f"{taken['kv_cache_bytes'] / 1e6:.2f}",
            f"{taken['prefill_flops'] / 1e9:.2f}",
            f"{taken['peak_memory_bytes'] / 1e6:.0f}" if taken["peak_memory_bytes"] else "-",
        )
        for row, timing in timed
        for taken in timing["batches"]
    ]
    how = (
        f"Medians of {timed[0][1]['rounds']} rounds in which the unpruned and the pruned model take turns; "
        "ratios are those of pruned to unpruned, with the 95 % interval of their median. Where it reaches 1 "
        "there is no gain."
    )
    reasons = {taken["peak_memory_note"] for _, timing in timed for taken in timing["batches"]} - {None}
    missing = (f"Peak memory is not told: {reason}." for reason in reasons)
    return _without_one_model(Table("Time and memory", head, body, (how, *missing), keys=5))


def _without_one_model(table: Table) -> Table:
    """The table without its first column, if that names one model all along."""
    if len({cells[0] for cells in table.body}) > 1:
        return table
    body = [cells[1:] for cells in table.body]
    return replace(table, head=table.head[1:], body=body, keys=table.keys - 1)


def too_few(pictures: int) -> str:
    """The note on a table of so few pictures."""
    count = "one picture" if pictures == 1 else f"{pictures} pictures"
    return f"What is found on {count}, fewer than {FEWEST_PICTURES}, is not to be believed."


def _accuracy(row: Row) -> str:
    return with_interval(row["accuracy"], row["low"], row["high"], form="{:.3f}".format)


def _key(row: Row) -> tuple[str, ...]:
    return (*_model_and_task(row), row["pruner"], _keep(row))


def _model_and_task(row: Row) -> tuple[str, str]:
    return row["model"], row["task"]


def _keep(row: Row) -> str:
    return str(row["tokens"]) if row["keep"] is None else f"{100 * row['keep']:.4g}%"


def _part(part: Part) -> str:
    """Accuracy on the questions of a part and how many they are."""
    return f"{part['accuracy']:.3f} ({part['questions']})" if part["questions"] else "- (0)"


def _ratio(ratios: dict[Span, Interval] | None, span: Span) -> str:
    if ratios is None:
        return ""
    middle, low, high = ratios[span]
    text = f"{middle:.2f} [{low:.2f}, {high:.2f}]"
    return text if is_gain(ratios[span]) else f"no gain: {text}"
