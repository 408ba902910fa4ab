"""The bars that a comparison has to clear, with the figures, whether it does or not."""

from __future__ import annotations

from wordsight._utils.numbers import percent, signed
from wordsight.evaluation.results import Row
from wordsight.pruners import make
from wordsight.pruners.layerwise import LayerPruner
from wordsight.reports.tables import Table

QUALITY = {0.2: 0.97, 0.1: 0.90}  # the share of the unpruned accuracy that the paper's abstract promises
KEEPS = (0.2, 0.1, 0.05)


def bars(rows: list[Row], ours: str) -> Table:
    """On the mean over tasks: the quality that our method keeps, and every pruner that it is below.

    Below: the 95 % interval of the difference lies above zero, among those that know the pictures only and
    drop tokens before the language model.
    """
    most = max(row["tasks"] for row in rows)
    at = {(row["pruner"], row["keep"]): row for row in rows if row["tasks"] == most}
    names = list(dict.fromkeys(pruner for pruner, _ in at))
    rivals = [name for name in names if name not in ("none", "resized") and _is_alike(name)]
    body = []
    for keep in KEEPS:
        mine = at[ours, keep]
        gaps = {name: at[name, keep]["difference_to"].get(ours) for name in rivals}
        better = {name: gap for name, gap in gaps.items() if gap and gap[1] > 0}
        listed = [
            f"{name} {signed(gap)}" for name, gap in sorted(better.items(), key=lambda pair: -pair[1][0])
        ]
        kept = percent(mine["retention"])
        if keep in QUALITY:
            kept += f" ({'met' if mine['retention'] >= QUALITY[keep] else 'missed'}: {QUALITY[keep]:.0%})"
        body.append((f"{keep:.0%}", kept, f"{len(better)} of {len(gaps) - 1}", "; ".join(listed) or "none"))
    head = ("keep", f"quality kept by {ours}", "pruners above it", "by how much [95 %]")
    return Table("Bars", head, body)


def _is_alike(name: str) -> bool:
    """Whether a pruner chooses before the language model and whatever the question."""
    pruner = make(name)
    return not pruner.reads_question and not isinstance(pruner, LayerPruner)
