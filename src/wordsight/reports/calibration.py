"""The tables of a calibration, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import RenderableType

from wordsight._utils.numbers import signed
from wordsight.evaluation.calibration import CalibrationRecord
from wordsight.evaluation.statistics import Interval
from wordsight.reports.formats import terminal
from wordsight.reports.silence import silence_sentence
from wordsight.reports.tables import Table, too_few


def calibration_tables(record: CalibrationRecord) -> list[RenderableType]:
    """The record of a calibration for the terminal, the verdict last."""
    ranked = sorted(record["choosing"].items(), key=lambda item: -item[1])
    books = Table(
        f"on {record['questions']['choosing']} questions that choose",
        ("criterion", "accuracy"),
        [(name, f"{accuracy:.3f}") for name, accuracy in ranked],
    )
    beside = record["beside_diversity"]
    weights = Table(
        f"beside diversity, on {record['questions']['choosing']} questions that choose",
        ("weight in codebook_mmr", "accuracy", "with random books"),
        [
            ("0 (divprune)", f"{beside['divprune']:.3f}", ""),
            *(
                (f"{tried['weight']:g}", f"{tried['accuracy']:.3f}", f"{tried['random_books']:.3f}")
                for tried in beside["choosing"]
            ),
        ],
    )
    tables = [books, _tested(record, "", record["testing"], record["difference_to"]), weights]
    if beside["testing"]:
        tables.append(_tested(record, "beside diversity, ", beside["testing"], beside["difference_to"]))
    return [*map(terminal, tables), silence_sentence(record["silence"]), _verdict(record)]


def _tested(
    record: CalibrationRecord,
    where: str,
    accuracies: Mapping[str, float],
    differences: Mapping[str, Interval],
) -> Table:
    """Accuracies on the questions that test."""
    return Table(
        f"{where}on {record['questions']['testing']} questions that test",
        ("", "accuracy", "best minus this"),
        [(name, f"{accuracy:.3f}", signed(differences.get(name))) for name, accuracy in accuracies.items()],
        () if record["enough_pictures"] else (too_few(record["pictures"]),),
    )


def _verdict(record: CalibrationRecord) -> str:
    """Whether the book pays, and the pruner to give."""
    shares = ", ".join(f"{keep:.0%}" for keep in record["keeps"])
    place = f"on this model and task, mean over {shares} of tokens"
    if not record["enough_pictures"]:
        return f"Too few pictures to tell whether the best codebook pays {place}."
    beside = record["beside_diversity"]
    spec = f"--pruner codebook_mmr:weight={beside['weight']:g},codebook=FOLDER"
    with_diversity = f"pays beside diversity ({spec})" if beside["pays"] else "does not pay beside diversity"
    if record["pays"]:
        said = f"pays alone (--pruner codebook:codebook=FOLDER), and {with_diversity}"
    else:
        said = f"does not pay alone, {'but' if beside['pays'] else 'and'} {with_diversity}"
    return f"The best codebook {said}, {place}."
