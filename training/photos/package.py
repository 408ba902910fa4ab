"""The weights of packages/wordsight-photos out of a checkpoint of stage 2, the same bytes every time, and the
table of its card.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from parts import quantized, write_parts
from vision import tower
from wheels import tower_weights
from wordsight._utils.files import replacing

ROOT = Path(__file__).parents[2] / "packages" / "wordsight-photos"
MODEL, CARD = ROOT / "src" / "wordsight_photos" / "model", ROOT / "README.md"
BEGIN, END = "<!-- table: gates -->\n", "<!-- end -->"
MOST = 50e6  # bytes


def package(
    checkpoint: Annotated[Path, typer.Argument(help="of stage 2, as ../build/photos/answer-b-0.pt")],
) -> None:
    """Replace the model of the distribution, and the gates in its card if they were measured on the test."""
    with replacing(MODEL) as draft:
        draft.mkdir()
        write_parts(checkpoint, draft, quantized(tower(tower_weights()).state_dict()))
        size = sum(file.stat().st_size for file in draft.iterdir())
        if size > MOST:
            raise SystemExit(f"the model has {size / 1e6:.1f} MB; expected at most {MOST / 1e6:.0f}")
    report = checkpoint.with_name(f"{checkpoint.stem.replace('answer', 'gates')}-test.json")
    table = gates_table(json.loads(report.read_text())["gates"]) if report.exists() else "Not measured yet.\n"
    before, _, rest = CARD.read_text().partition(BEGIN)
    with replacing(CARD) as draft:
        draft.write_text(before + BEGIN + table + END + rest.partition(END)[2])
    print(
        f"{MODEL}: {size / 1e6:.1f} MB; gates {'from ' + report.name if report.exists() else 'not measured'}"
    )


def gates_table(gates: list[dict[str, Any]]) -> str:
    """What was asked of the model and what it reached, in Markdown."""
    lines = ["| gate, on test photos | reached [95 %] | blind | |", "|---|---|---|---|"]
    for gate in gates:
        if gate["value"] is None:
            lines.append(f"| {gate['says']} | not measured | | |")
            continue
        low, high = gate["interval"]
        blind = f"{gate['blind']:.3f}" if "blind" in gate else ""
        verdict = "passes" if gate["passes"] else "fails"
        lines.append(
            f"| {gate['says']} | {gate['value']:.3f} [{low:.3f}, {high:.3f}] | {blind} | {verdict} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(package)
