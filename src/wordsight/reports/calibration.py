"""The tables of a calibration, for the terminal."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table

from wordsight._utils.numbers import signed
from wordsight.evaluation.calibration import CalibrationRecord


def calibration_tables(record: CalibrationRecord) -> list[RenderableType]:
    """The record of a calibration for the terminal, the verdict last."""
    tried = Table(
        "criterion", "accuracy", title=f"on {record['questions']['choosing']} questions that choose"
    )
    for name, accuracy in sorted(record["choosing"].items(), key=lambda item: -item[1]):
        tried.add_row(name, f"{accuracy:.3f}")
    tested = Table(
        "", "accuracy", "best minus this", title=f"on {record['questions']['testing']} questions that test"
    )
    for name, accuracy in record["testing"].items():
        gap = record["difference_to"].get(name)
        tested.add_row(name, f"{accuracy:.3f}", signed(gap))
    verdict = "pays" if record["pays"] else "does not pay"
    shares = ", ".join(f"{keep:.0%}" for keep in record["keeps"])
    return [
        tried,
        tested,
        f"The best codebook {verdict} on this model and task, mean over {shares} of tokens.",
    ]
