"""What was done to evidence, in sentences."""

from __future__ import annotations

from pathlib import Path

from wordsight._utils.numbers import counted
from wordsight.redundancy.collecting import EvidencePart
from wordsight.redundancy.merging import MergeRecord


def part_sentence(record: EvidencePart, folder: Path) -> str:
    """Which part of the evidence is there now."""
    examined = counted(record["tokens"], "token")
    return f"part {record['part']} of {record['parts']} is in {folder}, {examined} examined now"


def merge_sentence(record: MergeRecord, folder: Path) -> str:
    """What was put together."""
    *first, last = record["experiments"]
    what = f"{', '.join(first)} and {last}" if first else last
    return f"{what} of {counted(record['pictures'], 'picture')} in {folder}"
