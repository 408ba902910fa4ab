"""The tables of a calibration, for the terminal."""

from __future__ import annotations

from rich.console import RenderableType

from wordsight._utils.numbers import signed
from wordsight.evaluation.calibration import CalibrationRecord
from wordsight.reports.formats import terminal
from wordsight.reports.silence import silence_sentence
from wordsight.reports.tables import Table, too_few


def calibration_tables(record: CalibrationRecord) -> list[RenderableType]:
    """The record of a calibration for the terminal, the verdict last."""
    ranked = sorted(record["choosing"].items(), key=lambda item: -item[1])
    tried = Table(
        f"on {record['questions']['choosing']} questions that choose",
        ("criterion", "accuracy"),
        [(name, f"{accuracy:.3f}") for name, accuracy in ranked],
    )
    tested = Table(
        f"on {record['questions']['testing']} questions that test",
        ("", "accuracy", "best minus this"),
        [
            (name, f"{accuracy:.3f}", signed(record["difference_to"].get(name)))
            for name, accuracy in record["testing"].items()
        ],
        () if record["enough_pictures"] else (too_few(record["pictures"]),),
    )
    return [terminal(tried), terminal(tested), silence_sentence(record["silence"]), _verdict(record)]


def _verdict(record: CalibrationRecord) -> str:
    shares = ", ".join(f"{keep:.0%}" for keep in record["keeps"])
    place = f"on this model and task, mean over {shares} of tokens"
    if not record["enough_pictures"]:
        return f"Too few pictures to tell whether the best codebook pays {place}."
    return f"The best codebook {'pays' if record['pays'] else 'does not pay'} {place}."
