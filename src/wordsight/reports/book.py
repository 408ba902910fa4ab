"""What the record of a book's prototypes says, in sentences and as tables."""

from __future__ import annotations

from wordsight._utils.numbers import counted
from wordsight.analysis.prototypes import Cluster, Inspection
from wordsight.reports.drawing import NOTHING
from wordsight.reports.tables import Table


def sentences(record: Inspection) -> list[str]:
    """What there is to know of the book, the flag first if it has one."""
    says, count = record["says"], len(record["prototypes"])
    sure = f"say a word with a confidence of {says['sure']:g} or more"
    flag = f"No prototype {sure.replace('say', 'says', 1)}."
    if says["flagged"]:
        common = ", ".join(f"{word} ({times})" for word, times in says["words"][:10])
        flag = (
            f"Flagged: {says['prototypes']} of {counted(count, 'prototype')} ({says['share']:.0%}) {sure}: "
            f"{common}. "
            "What a prototype stands for should say nothing recognizable."
        )
    lines = [
        flag,
        f"{counted(count, 'prototype')} for {record['book']['model']}, each read alone and compared with "
        f"{counted(record['tokens'], 'token')} of {counted(len(record['pictures']), 'picture')}.",
    ]
    if silent := sum(each["says_nothing"] for each in record["prototypes"]):
        says_nothing = f"{silent} of them {'says' if silent == 1 else 'say'} nothing"
        lines.append(f"{says_nothing}: the model says the same as without any picture.")
    if repeats := record["repetition"]:
        lines.append(
            f"Half of the prototypes have another at a cosine of {repeats['median']:.3f} or more; "
            "`wordsight codebook compact` leaves out those that repeat another."
        )
    dropped = counted(record["dropped"], "token")
    idle = counted(record["idle"], "prototype")
    lines.append(f"Dropped at keep {record['keep']:.0%}: {dropped}; nearest to no dropped token: {idle}.")
    return lines


def cluster_table(record: Inspection) -> Table:
    """A row for every cluster of prototypes."""
    dropped = max(1, record["dropped"])
    body = [
        (
            str(each["number"]),
            str(each["prototypes"]),
            words_of(each),
            f"{each['confidence']:.3f}",
            f"{each['prunes'] / dropped:.1%}",
        )
        for each in record["clusters"]
    ]
    head = ("cluster", "prototypes", "commonest words", "mean confidence", "of the dropped tokens")
    return Table("Clusters", head, body, tuple(sentences(record)))


def words_of(cluster: Cluster) -> str:
    """The commonest words of a cluster and nothing, and how many prototypes say them."""
    silent = [(NOTHING, cluster["says_nothing"])] if cluster["says_nothing"] else []
    return ", ".join(f"{word} ({times})" for word, times in [*cluster["words"], *silent])
