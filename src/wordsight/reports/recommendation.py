"""The tables of a recommendation, for the terminal."""

from __future__ import annotations

from rich.console import RenderableType

from wordsight._utils.numbers import signed
from wordsight.evaluation.metrics import UNPRUNED
from wordsight.evaluation.recommendation import Recommendation
from wordsight.reports.formats import terminal
from wordsight.reports.tables import Table, too_few


def recommendation_tables(record: Recommendation) -> list[RenderableType]:
    """The record for the terminal, the advice last."""
    parts: list[RenderableType] = []
    if "leader" in record:
        for table in (_race_table(record), _test_table(record), _time_table(record)):
            parts += [terminal(table), ""]
    if slow := record["too_slow"]:
        names = ", ".join(f"{name} ({record['milliseconds'][name]:.0f} ms)" for name in slow)
        parts.append(f"Left out, slower than {record['terms']['latency_ms']:g} ms a question: {names}.")
    parts += [f"Left out: {reason}." for reason in dict.fromkeys(record["left_out"].values())]
    return [*parts, *record["advice"]]


def _race_table(record: Recommendation) -> Table:
    asked = [row["questions"] for row in record["candidates"].values()]
    title = (
        f"Race on the validation split: {sum(asked)} questions asked, of {len(asked) * record['validation']}"
    )
    body = []
    for name, row in record["candidates"].items():
        state = "dropped" if row["dropped"] else "leads" if name == record["leader"] else ""
        body.append((name, str(row["questions"]), str(row["pictures"]), f"{row['accuracy']:.3f}", state))
    return Table(title, ("pruner", "questions", "pictures", "accuracy", ""), body)


def _test_table(record: Recommendation) -> Table:
    test = record["test"]
    title = f"Test split: {test['questions']} questions about {test['pictures']} pictures"
    head = ("pruner", "tokens", "accuracy", f"{record['leader']} minus this [95 %]")
    body = [
        (name, f"{test['tokens'][name]:.1f}", f"{accuracy:.3f}", signed(test["difference_to"].get(name)))
        for name, accuracy in test["accuracy"].items()
    ]
    return Table(title, head, body, () if test["enough_pictures"] else (too_few(test["pictures"]),))


def _time_table(record: Recommendation) -> Table:
    time = record["time"]
    title = f"Milliseconds a question, medians of {time['rounds']} rounds in turns"
    body = [
        (name, *(f"{each:.1f}" for each in spans.values()))
        for name, spans in ((UNPRUNED, time["unpruned_ms"]), (record["leader"], time["pruned_ms"]))
    ]
    return Table(title, ("pruner", *time["unpruned_ms"]), body)
