"""The tables of a calibration, for the terminal."""

from __future__ import annotations

from rich.console import RenderableType

from wordsight._utils.numbers import signed
from wordsight.evaluation.calibration import CalibrationRecord, PriorRecord
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
    weights = Table(
        f"beside diversity, in codebook_mmr, on {record['questions']['choosing']} questions that choose",
        ("weight", "accuracy"),
        [(weight, f"{accuracy:.3f}") for weight, accuracy in record["prior"]["choosing"].items()],
    )
    alone, beside = (_tested(record, verdict) for verdict in (record, record["prior"]))
    said = (silence_sentence(record["silence"]), _verdict(record), _prior_verdict(record))
    return [*map(terminal, (tried, alone, weights, beside)), *said]


def _tested(record: CalibrationRecord, verdict: CalibrationRecord | PriorRecord) -> Table:
    """The best of a verdict of this record, and its controls."""
    return Table(
        f"on {record['questions']['testing']} questions that test",
        ("", "accuracy", "best minus this"),
        [
            (name, f"{accuracy:.3f}", signed(verdict["difference_to"].get(name)))
            for name, accuracy in verdict["testing"].items()
        ],
        () if record["enough_pictures"] else (too_few(record["pictures"]),),
    )


def _verdict(record: CalibrationRecord) -> str:
    if not record["enough_pictures"]:
        return f"Too few pictures to tell whether the best codebook pays {_place(record)}."
    return f"The best codebook {'pays' if record['pays'] else 'does not pay'} {_place(record)}."


def _prior_verdict(record: CalibrationRecord) -> str:
    """What to give as a pruner, if the book pays beside diversity."""
    prior = record["prior"]
    if not record["enough_pictures"]:
        return "Too few, too, to tell whether it pays beside diversity."
    if not prior["pays"]:
        return "It does not pay beside diversity."
    return f"Beside diversity it pays: --pruner codebook_mmr:codebook=BOOK,weight={prior['weight']:.3g}."


def _place(record: CalibrationRecord) -> str:
    shares = ", ".join(f"{keep:.0%}" for keep in record["keeps"])
    return f"on this model and task, mean over {shares} of tokens"
