"""The tables of a recommendation, for the terminal."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table

from wordsight._utils.numbers import signed
from wordsight.evaluation.metrics import UNPRUNED
from wordsight.evaluation.recommendation import Recommendation


def recommendation_tables(record: Recommendation) -> list[RenderableType]:
    """The record for the terminal, the advice last."""
    parts: list[RenderableType] = []
    if "leader" in record:
        parts += [*_race_table(record), "", *_test_table(record), "", *_time_table(record), ""]
    if slow := record["too_slow"]:
        names = ", ".join(f"{name} ({record['milliseconds'][name]:.0f} ms)" for name in slow)
        parts.append(f"Left out, slower than {record['terms']['latency_ms']:g} ms a question: {names}.")
    parts += [f"Left out: {reason}." for reason in dict.fromkeys(record["left_out"].values())]
    return [*parts, *record["advice"]]


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False)


def _race_table(record: Recommendation) -> tuple[str, Table]:
    asked = [row["questions"] for row in record["candidates"].values()]
    title = (
        f"Race on the validation split: {sum(asked)} questions asked, of {len(asked) * record['validation']}"
    )
    table = _table("pruner", "questions", "pictures", "accuracy", "")
    for name, row in record["candidates"].items():
        state = "dropped" if row["dropped"] else "leads" if name == record["leader"] else ""
        table.add_row(name, str(row["questions"]), str(row["pictures"]), f"{row['accuracy']:.3f}", state)
    return title, table


def _test_table(record: Recommendation) -> tuple[str, Table]:
    test = record["test"]
    title = f"Test split: {test['questions']} questions about {test['pictures']} pictures"
    table = _table("pruner", "tokens", "accuracy", f"{record['leader']} minus this [95 %]")
    for name, accuracy in test["accuracy"].items():
        gap = signed(test["difference_to"].get(name))
        table.add_row(name, f"{test['tokens'][name]:.1f}", f"{accuracy:.3f}", gap)
    return title, table


def _time_table(record: Recommendation) -> tuple[str, Table]:
    time = record["time"]
    title = f"Milliseconds a question, medians of {time['rounds']} rounds in turns"
    table = _table("pruner", *time["unpruned_ms"])
    for name, spans in ((UNPRUNED, time["unpruned_ms"]), (record["leader"], time["pruned_ms"])):
        table.add_row(name, *(f"{each:.1f}" for each in spans.values()))
    return title, table
