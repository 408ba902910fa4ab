"""The table of a compaction, for the terminal."""

from __future__ import annotations

from wordsight._utils.numbers import counted
from wordsight.analysis.compaction import Compaction
from wordsight.reports.tables import Table


def compaction_table(record: Compaction) -> Table:
    """What was merged, and on pictures how many of the kept tokens are the same."""
    before, after = record["prototypes"]["before"], record["prototypes"]["after"]
    notes = [
        f"{after} of {counted(before, 'prototype')} stay; each that went has a cosine of "
        f"{record['similarity']:g} or more with one of them.",
        f"No token's redundancy rises, and none falls by more than {record['largest_fall_possible']:.3f}, "
        "whatever the picture.",
    ]
    body = []
    if on := record.get("on_pictures"):
        fall = on["redundancy"]
        notes.append(
            f"On {counted(on['tokens'], 'token')} of {counted(on['pictures'], 'picture')} redundancy fell by "
            f"{fall['largest_fall']:.4f} at most, {fall['mean_fall']:.4f} on average."
        )
        body = [
            (f"{kept['keep']:.0%}", f"{kept['by_both']:.1%}", f"{kept['least']:.1%}", f"{kept['keep']:.0%}")
            for kept in on["kept"]
        ]
    else:
        notes.append("Give --images to see what it changes in the tokens that are kept.")
    head = ("keep", "kept by both, mean", "in the worst picture", "by chance")
    return Table("Tokens kept by both books", head, body, tuple(notes))
