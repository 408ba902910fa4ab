"""The locality gate: can ONE background token tell which objects are elsewhere in the picture? It must not.

If it can, random tokens carry the whole picture and no pruner can be told from another.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from rich.progress import track
from torch import Tensor

from wordsight import VLM
from wordsight.redundancy.probe import QUESTION
from wordsight.synthetic.scenes import NOUNS, SPLITS, render

SHUFFLES = 20
RIDGE = (10.0, 100.0, 1000.0, 3000.0)
TOLERANCE = 0.02  # of mean average precision above shuffled labels


def gate(
    pictures: Annotated[int, typer.Option(help="validation scenes; three quarters fit the probe")] = 1600,
    out: Annotated[Path | None, typer.Option(help="write the figures into this JSON file")] = None,
) -> None:
    """Mean average precision of a linear probe from one background token, beside shuffled labels and
    controls.
    """
    vlm = VLM.from_pretrained()
    lone, mean, present = [], [], []
    for number in track(range(pictures), "pictures"):
        scene = render(SPLITS["validation"] + 10_000 + number)
        far = F.max_pool2d(torch.from_numpy(scene.owner >= 0).float()[None], 5, 1, 2)[0].flatten() == 0
        if not far.any() or not scene.things:
            continue
        embeds = vlm.encode(scene.image, QUESTION).visual.embeds
        choice = np.random.default_rng(number).choice(far.nonzero()[:, 0].numpy())
        lone.append(embeds[choice])
        mean.append(embeds.mean(0))
        present.append([float(noun in {thing.noun for thing in scene.things}) for noun in NOUNS])
    y = torch.tensor(present)
    one, all_of_it = torch.stack(lone), torch.stack(mean)
    generator = torch.Generator().manual_seed(0)
    shuffled = [precision(one, y[torch.randperm(len(y), generator=generator)]) for _ in range(SHUFFLES)]
    figures = {
        "pictures": len(y),
        "one_background_token": precision(one, y),
        "shuffled_labels_mean": float(np.mean(shuffled)),
        "shuffled_labels_highest_of_20": max(shuffled),
        "mean_of_all_tokens": precision(all_of_it, y),
    }
    figures["passes"] = figures["one_background_token"] - figures["shuffled_labels_mean"] <= TOLERANCE
    print(json.dumps(figures, indent=1))
    if out:
        out.write_text(
            json.dumps(figures | {"tolerance": TOLERANCE, "command": "locality.py"}, indent=1) + "\n"
        )


def precision(x: Tensor, y: Tensor) -> float:
    """Mean average precision over nouns of ridge regression, fitted on three quarters, the best of four
    strengths.
    """
    cut = 3 * len(x) // 4
    scaled = (x - x[:cut].mean(0)) / (x[:cut].std(0) + 1e-5)
    features = torch.cat([scaled, torch.ones(len(x), 1)], 1)
    train, test = features[:cut], features[cut:]
    found = []
    for strength in RIDGE:
        weights = torch.linalg.solve(
            train.T @ train + strength * torch.eye(train.shape[1]), train.T @ y[:cut]
        )
        found.append(_mean_average_precision(test @ weights, y[cut:]))
    return max(found)


def _mean_average_precision(scores: Tensor, y: Tensor) -> float:
    values = []
    for column in range(y.shape[1]):
        hits = y[scores[:, column].argsort(descending=True), column]
        if hits.sum() >= 3:
            running = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
            values.append(float((running * hits).sum() / hits.sum()))
    return float(np.mean(values))


if __name__ == "__main__":
    typer.run(gate)
