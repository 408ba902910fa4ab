"""Why a codebook wins or loses on the embedded model: what each signal says about objects and backgrounds.

Evidence is collected on validation scenes, where every patch has a label. AUROC 1 means that the signal is
always higher on object tokens than on background tokens, 0.5 that it does not tell them apart.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from wordsight import VLM, Codebook, Condition, Evidence
from wordsight._utils.files import replacing
from wordsight.evaluation.environment import environment
from wordsight.redundancy.collecting import collect_evidence
from wordsight.redundancy.probe import QUESTION, decode_ids
from wordsight.synthetic.scenes import CLASSES, OBJECT_CLASSES, SPLITS, render, save_scenes

HERE = Path(__file__).parent


def explain(
    evidence_folder: Path, pictures: Annotated[int, typer.Option(help="validation scenes to examine")] = 40
) -> None:
    """Write results/causes.json."""
    vlm = VLM.from_pretrained()
    with TemporaryDirectory() as folder:
        evidence = collect_evidence(vlm, save_scenes(folder, pictures, "validation"), evidence_folder)
    scenes = [render(SPLITS["validation"] + number) for number in range(pictures)]
    label = torch.cat([torch.from_numpy(scene.labels).long().flatten() for scene in scenes])
    attention = torch.cat(
        [
            vlm.encode(scene.image, QUESTION, signals=frozenset({"cls_attention"})).visual.signals[
                "cls_attention"
            ]
            for scene in scenes
        ]
    )
    is_object = (label >= 0) & (label < OBJECT_CLASSES)
    is_plain = label == len(CLASSES) - 1
    is_named = (label >= OBJECT_CLASSES) & ~is_plain
    signals = {
        "confidence": evidence.signals["confidence"],
        "regional divergence": evidence.signals["regional/jensen_shannon"],
        "global divergence": evidence.signals["global/jensen_shannon"],
        "regional + 16 global": Condition().weighted_divergence(evidence.signals),
        "minus codebook redundancy": -Codebook.from_pretrained("demo").redundancy(evidence.embeds[:]),
        "minus control redundancy": -Codebook.from_pretrained(HERE / "control-codebook").redundancy(
            evidence.embeds[:]
        ),
        "[CLS] attention": attention,
    }
    groups = {"object": is_object, "named background": is_named, "plain background": is_plain}
    record: dict[str, Any] = {
        "pictures": pictures,
        "tokens": {name: int(mask.sum()) for name, mask in groups.items()},
        "auroc_object_against_background": {
            name: auroc(values[is_object], values[is_named | is_plain]) for name, values in signals.items()
        },
        "mean_confidence": {name: float(signals["confidence"][mask].mean()) for name, mask in groups.items()},
        "first_word_right": _first_word_right(vlm, evidence, label, groups),
        "share_of_groups_in_the_condition": {
            name: float(Condition().holds(evidence.signals)[mask].float().mean())
            for name, mask in groups.items()
        },
        "environment": environment(vlm),
    }
    with replacing(HERE / "results" / "causes.json") as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


def _first_word_right(
    vlm: VLM, evidence: Evidence, label: Tensor, groups: dict[str, Tensor]
) -> dict[str, float]:
    """The share of tokens whose likeliest word alone is the noun or the background that the patch shows."""
    words = [each[0] for each in decode_ids(vlm, evidence.words[:][:, :1])]
    right = torch.tensor([word in CLASSES[i].split() for word, i in zip(words, label.tolist(), strict=True)])
    return {name: float(right[groups[name]].float().mean()) for name in ("object", "named background")}


def auroc(high: Tensor, low: Tensor) -> float:
    """The chance that a value of `high` is above one of `low`, ties counted half."""
    ranks = torch.cat([high, low]).double()
    ordered = ranks.sort().values
    below = torch.searchsorted(ordered, high.double(), right=False) + torch.searchsorted(
        ordered, high.double(), right=True
    )
    total = float(below.sum()) / 2 - len(high) ** 2 / 2
    return total / (len(high) * len(low))


if __name__ == "__main__":
    typer.run(explain)
