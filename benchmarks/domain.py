"""Which pictures a model of scenes does not know: fits demo/model/domain.json, then counts what is flagged.

Along one direction between the visual tokens of training pictures and those of others, by Fisher's linear
discriminant: photos of half of the categories of Caltech-101 (Fei-Fei, Fergus and Perona, 2004), and noise
and gradients. The distance from training pictures alone (Mahalanobis, of the same features) flags fewer
photos: the results have its rates too. The threshold is that of scenes of the validation split; nothing that
is counted was fitted to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import easy_vqa
import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor

from wordsight import VLM
from wordsight._utils.files import replacing
from wordsight._utils.progress import track
from wordsight.evaluation.environment import environment
from wordsight.evaluation.statistics import interval
from wordsight.models.domain import DOMAIN, FILE, features
from wordsight.synthetic.clips import render_clip
from wordsight.synthetic.scenes import EMOJI_NOUNS, NOUNS, SHAPES, SPLITS, TEXTURES, render

HERE = Path(__file__).parent
MODEL = HERE.parent / "src" / "wordsight" / "demo" / "model"
RESULTS = HERE / "results" / "domain.json"
QUANTILE = 0.985  # of scenes of the validation split, that are not flagged
RIDGE = 0.1  # added to variances, whose mean is 1
BARS = {"photos": 0.95, "own": 0.02}
KNOWS = (
    f"{len(NOUNS)} rendered things ({', '.join(EMOJI_NOUNS[:4])} ... {', '.join(SHAPES)}) on {len(TEXTURES)} "
    "backgrounds"
)
FIT = {"scenes": 2000, "clips": 60, "easy-VQA": 400, "others": 100}


def main(
    photos: Annotated[Path, typer.Option(help="Caltech-101: a folder of folders of .jpg")],
    unseen: Annotated[Path, typer.Option(help="photos from elsewhere, in the same way")],
    scenes: Annotated[int, typer.Option(help="of a split that is counted")] = 1000,
    every: Annotated[int, typer.Option(help="take one in so many photos of Caltech-101")] = 5,
) -> None:
    """Write domain.json beside the model, and results/domain.json."""
    vlm = VLM.from_pretrained()
    categories = sorted(path for path in photos.iterdir() if path.is_dir())
    train, validation, test = (SPLITS[name] for name in ("train", "validation", "test"))
    own = chain(rendered(train, FIT["scenes"]), frames(train, FIT["clips"]), shapes("train", FIT["easy-VQA"]))
    others = chain(opened(categories[::2], every), made_up(FIT["others"], 0))
    known, held_back = seen(vlm, own), seen(vlm, rendered(validation, scenes))
    record = fitted(known, seen(vlm, others), held_back)
    with replacing(MODEL / FILE) as draft:
        draft.write_text(DOMAIN.text(record))
    counted = {
        "photos": {
            "Caltech-101, categories not fitted to": opened(categories[1::2], every),
            "photos from elsewhere": opened(sorted(unseen.iterdir()), 1),
        },
        "others": {"noise and gradients": made_up(FIT["others"], 1)},
        "own": {
            "scenes, pairs, captions: test scenes": rendered(test, scenes),
            "clips: frames of the test split": frames(test, 100),
            "easy-VQA: test pictures": shapes("test", 400),
        },
    }
    found = {
        kind: {name: seen(vlm, pictures) for name, pictures in sources.items()}
        for kind, sources in counted.items()
    }
    rates = rates_of(found, lambda pictures: along(record, pictures), record["threshold"])
    alone = mahalanobis(known)
    result = {
        "flagged": rates,
        "flagged_by_distance_alone": rates_of(found, alone, float(alone(held_back).quantile(QUANTILE))),
        "bars": BARS,
        "passes": all(each["rate"] >= BARS["photos"] for each in rates["photos"].values())
        and all(each["rate"] <= BARS["own"] for each in rates["own"].values()),
        "threshold": record["threshold"],
        "fitted_to": {**FIT, "photos": f"one in {every} of {len(categories[::2])} categories of Caltech-101"},
        "environment": environment(vlm),
        "command": "python benchmarks/domain.py --photos FOLDER --unseen FOLDER "
        f"--scenes {scenes} --every {every}",
    }
    with replacing(RESULTS) as draft:
        draft.write_text(json.dumps(result, indent=1) + "\n")


def fitted(own: Tensor, others: Tensor, held_back: Tensor) -> dict[str, Any]:
    """The domain of pictures whose features (pictures, 2 D) are given, apart from others."""
    center, scale = own.mean(0), own.std(0)
    own, others = (own - center) / scale, (others - center) / scale
    within = (torch.cov(own.T) + torch.cov(others.T)) / 2 + RIDGE * torch.eye(own.shape[1])
    direction = torch.linalg.solve(within, others.mean(0) - own.mean(0))
    direction = direction / (own @ direction).std() / scale
    threshold = float(((held_back - center) @ direction).quantile(QUANTILE))
    listed = {
        name: [float(f"{x:.6g}") for x in values]
        for name, values in {"center": center, "direction": direction}.items()
    }
    return {"format": DOMAIN.format, "knows": KNOWS, **listed, "threshold": round(threshold, 4)}


def along(record: dict[str, Any], found: Tensor) -> Tensor:
    """(pictures,) as `Domain.distances` has it."""
    return (found - torch.tensor(record["center"])) @ torch.tensor(record["direction"])


def mahalanobis(own: Tensor) -> Callable[[Tensor], Tensor]:
    """What finds (pictures,) squared distances from pictures whose features are given."""
    center, scale = own.mean(0), own.std(0)
    weights = torch.linalg.inv(torch.cov(((own - center) / scale).T) + 1e-3 * torch.eye(own.shape[1]))
    return lambda found: (((found - center) / scale @ weights) * (found - center) / scale).sum(1)


def rates_of(
    found: dict[str, dict[str, Tensor]], distances: Callable[[Tensor], Tensor], threshold: float
) -> dict[str, dict[str, Any]]:
    """Of every source how many pictures are flagged, and the share with its 95 % interval."""
    rates: dict[str, dict[str, Any]] = {kind: {} for kind in found}
    for kind, sources in found.items():
        for name, pictures in sources.items():
            flagged = (distances(pictures) > threshold).double().numpy()
            rates[kind][name] = {
                "pictures": len(flagged),
                "flagged": int(flagged.sum()),
                "rate": flagged.mean(),
                "interval": interval(flagged, [str(i) for i in range(len(flagged))]),
            }
    return rates


@torch.no_grad()
def seen(vlm: VLM, pictures: Iterable[Image.Image]) -> Tensor:
    """(pictures, 2 D) features of each."""
    return torch.stack([features(vlm.encode(each, "what is this?").visual.embeds) for each in pictures])


def rendered(start: int, count: int) -> Iterator[Image.Image]:
    return (render(start + i).image for i in track(range(count), "scenes", count))


def frames(start: int, clips: int) -> Iterator[Image.Image]:
    return (frame for i in range(clips) for frame in render_clip(start + i).frames)


def shapes(split: str, count: int) -> Iterator[Image.Image]:
    paths = getattr(easy_vqa, f"get_{split}_image_paths")()
    return (Image.open(path).convert("RGB") for _, path in sorted(paths.items())[:count])


def opened(folders: Iterable[Path], every: int) -> Iterator[Image.Image]:
    paths = [path for folder in folders for path in sorted(folder.glob("*.jpg"))[::every]]
    return (Image.open(path).convert("RGB") for path in track(paths, "photos", len(paths)))


def made_up(count: int, seed: int) -> Iterator[Image.Image]:
    """Noise of any coarseness, and gradients between two colors."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        side = int(rng.choice([2, 12, 48, 192])) if i % 2 else 2
        colors = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        yield Image.fromarray(colors).resize((192, 192), Image.Resampling.BILINEAR)


if __name__ == "__main__":
    typer.run(main)
