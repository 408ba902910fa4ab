"""What a model's silence foretells, in a sentence."""

from __future__ import annotations

from wordsight._utils.numbers import counted
from wordsight.evaluation.statistics import FEWEST_PICTURES
from wordsight.redundancy.silence import SilenceRecord
from wordsight.reports.tables import too_few


def silence_sentence(record: SilenceRecord) -> str:
    """How many tokens say nothing, and what that foretells of a codebook."""
    asked = f"{counted(record['tokens'], 'token')} of {counted(record['pictures'], 'picture')}"
    likely = "likely" if record["codebook_likely"] else "unlikely"
    sentence = f"{record['share']:.0%} of {asked} say nothing: a codebook is {likely} to beat random tokens."
    few = record["pictures"] < FEWEST_PICTURES
    return f"{sentence} {too_few(record['pictures'])}" if few else sentence
