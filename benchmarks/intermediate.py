"""Do intermediate states tell which visual tokens matter? The paper's question, where pictures are known.

Per picture, tokens are ordered by [CLS] attention, [CLS] similarity and text-to-image attention, and compared
with what they say (probe) and change (leave-one-out). `wordsight analyze` asks that of any pictures; here
labels are known, so that a word can be right and an answer, too.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import matplotlib as mpl
import numpy as np
import torch
import typer
from matplotlib import pyplot as plt
from torch import Tensor

from wordsight import VLM, Evidence
from wordsight._utils.files import replacing
from wordsight._utils.progress import track
from wordsight.algorithms.ranking import correlation, decile_means, halves
from wordsight.analysis.token_maps import CLS
from wordsight.analysis.token_maps import intermediate_maps as orders_of
from wordsight.evaluation.environment import environment
from wordsight.evaluation.prepared_task import PreparedTask, paired_interval
from wordsight.evaluation.statistics import DIFFERENCES, Interval, estimate
from wordsight.pruners.cls_similarity import ClsSimilarity
from wordsight.pruners.cls_topk import ClsTopK
from wordsight.pruners.random import Random
from wordsight.redundancy.collecting import collect_evidence
from wordsight.redundancy.probe import QUESTION, decode_ids
from wordsight.synthetic.scenes import CLASSES, OBJECT_CLASSES, SPLITS, render, save_scenes
from wordsight.tasks.scenes import Scenes

HERE = Path(__file__).parent
FIGURE = HERE.parent / "docs" / "intermediate.png"
ORDERS = ("cls_attention", "cls_similarity", "text_attention")
SIGNALS = ("confidence", "blind_divergence", "regional/jensen_shannon", "global/jensen_shannon")
SURE = 0.5


def analyze(
    evidence_root: Annotated[Path, typer.Argument(help="where evidence is, or is to be collected")],
    model: Annotated[str, typer.Option(help="demo, or a folder")] = "demo",
    name: Annotated[str, typer.Option(help="of the results: intermediate_NAME.json")] = "1",
    pictures: Annotated[int, typer.Option(help="validation scenes")] = 60,
) -> None:
    """Write results/intermediate_NAME.json and docs/intermediate.png."""
    vlm = VLM.from_pretrained(model)
    evidence = collected(vlm, evidence_root, "validation", pictures)
    scenes = [render(SPLITS["validation"] + number) for number in range(pictures)]
    orders: dict[str, Tensor] = {}
    for scene in track(scenes, "orders", pictures):
        prompt = vlm.encode(scene.image, QUESTION, signals=CLS)
        for token_map in orders_of(vlm, prompt).maps:
            earlier = orders.get(token_map.name, torch.zeros(0))
            orders[token_map.name] = torch.cat([earlier, token_map.values])
    label = torch.cat([torch.from_numpy(scene.labels).long().flatten() for scene in scenes])
    right = says_right(vlm, evidence, label)
    is_object = (label >= 0) & (label < OBJECT_CLASSES)
    record: dict[str, Any] = {
        "pictures": pictures,
        "spearman": {
            order: {
                name: _spearman(orders[order], evidence.signals[name], evidence.image) for name in SIGNALS
            }
            for order in ORDERS
        },
        "lowest_half": {order: _lowest_half(orders[order], evidence, right, is_object) for order in ORDERS},
        "dropping_half": _dropping(vlm, pictures),
        "sure": SURE,
        "environment": environment(vlm),
    }
    with replacing(HERE / "results" / f"intermediate_{name}.json") as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))
    _draw(orders, evidence, right)


def collected(vlm: VLM, root: Path, split: str, pictures: int) -> Evidence:
    """The evidence of the first scenes of a split, kept under `root`."""
    with TemporaryDirectory() as folder:
        return collect_evidence(
            vlm, save_scenes(folder, pictures, split), root / f"{vlm.fingerprint}-{split}"
        )


def says_right(vlm: VLM, evidence: Evidence, label: Tensor) -> Tensor:
    """(T,) whether the likeliest word alone is one of what the patch shows, and is said surely."""
    words = [each[0] for each in decode_ids(vlm, evidence.words[:][:, :1])]
    named = [i >= 0 and word in CLASSES[i].split() for word, i in zip(words, label.tolist(), strict=True)]
    return torch.tensor(named) & (evidence.signals["confidence"] >= SURE)


def _spearman(order: Tensor, values: Tensor, image: Tensor) -> list[float | None]:
    """Mean rank correlation per picture, with its 95 % bootstrap interval over pictures."""
    numbers = torch.unique(image).tolist()
    each = [correlation(order[image == number], values[image == number]) for number in numbers]
    mean = estimate(each, DIFFERENCES)
    return [mean["mean"], mean["low"], mean["high"]]


def _lowest_half(order: Tensor, evidence: Evidence, right: Tensor, is_object: Tensor) -> dict[str, float]:
    """Among the half of each picture's tokens that the signal ranks lowest, the share that says a right word
    surely; the same for tokens of objects; and how many of all object tokens lie in that half.
    """
    low = torch.zeros(len(order), dtype=torch.bool)
    for number in torch.unique(evidence.image):
        rows = (evidence.image == number).nonzero()[:, 0]
        split = halves(order[rows])
        assert split is not None, "no signal of a scene is constant"
        low[rows[split.low]] = True
    return {
        "says_a_right_word": float(right[low].float().mean()),
        "says_a_right_word_in_the_highest_half": float(right[~low].float().mean()),
        "object_tokens_that_say_a_right_word": float(right[low & is_object].float().mean()),
        "share_of_object_tokens": float(low[is_object].float().mean()),
    }


def _dropping(vlm: VLM, pictures: int) -> dict[str, Interval]:
    """Accuracy lost by dropping the half that a signal ranks lowest, or a random half, with intervals."""
    task = Scenes(split="validation", pictures=pictures)
    prepared = PreparedTask.of(vlm, task, task.first(None), signals=CLS)
    pruners = {"random": Random(), "cls_attention": ClsTopK(), "cls_similarity": ClsSimilarity()}
    lost = {name: prepared.whole - prepared.run(replace(p, keep=0.5))[0] for name, p in pruners.items()}
    return {
        name: [float(values.mean()), *paired_interval(values, prepared.pictures)]
        for name, values in lost.items()
    }


def _draw(orders: dict[str, Tensor], evidence: Evidence, right: Tensor) -> None:
    """Mean confidence and share of right words per tenth of the tokens, ordered by each signal."""
    mpl.use("Agg")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharex=True)
    panels = (
        (evidence.signals["confidence"], "mean confidence"),
        (right.float(), "says a right word, surely"),
    )
    pictures = [evidence.image == number for number in torch.unique(evidence.image)]
    for order in ORDERS:
        for axis, (values, title) in zip(axes, panels, strict=True):
            tenths = [decile_means(orders[order][rows], values[rows]) for rows in pictures]
            means = np.mean(np.array(tenths, float), 0)
            axis.plot(range(1, 11), means, marker="o", label=order.replace("_", " "))
            axis.set(title=title, xlabel="tenth of the picture's tokens, lowest first", ylim=(0, 1))
    axes[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(FIGURE, dpi=110)


if __name__ == "__main__":
    typer.run(analyze)
