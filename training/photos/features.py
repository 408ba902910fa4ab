"""Run the tower once over every view and keep its tokens, how salient they are, and the color of what is:
`python features.py FOLDER`, which training does by itself; before several trainings at once it is done once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from PIL import Image
from torch import Tensor

from color import color_of
from photos import Photo, read_photos
from views import View, all_views, render
from vision import DEVICE, GRID, LAYERS, Saliency, pixels, restrict_attention, tokens_of, tower
from wheels import BUILD, tower_weights
from wordsight._utils.files import replacing

SHARD, BATCH = 256, 8  # views


@dataclass(frozen=True)
class Features:
    """Views and what the tower made of them.

    tokens   of every shard: (256, 64, 1536) in half precision, mapped from disk.
    salient  (N, 64) in [0, 1]
    colors   of every view, None where no color is clear
    """

    views: list[View]
    tokens: list[Tensor]
    salient: Tensor
    colors: list[str | None]

    def gather(self, rows: Sequence[int]) -> Tensor:
        """(B, 64, 1536) the tokens of some views."""
        return torch.stack([self.tokens[row // SHARD][row % SHARD] for row in rows]).float()

    def token(self, row: int, which: Tensor) -> Tensor:
        """(K, 1536) some tokens of one view."""
        return self.tokens[row // SHARD][row % SHARD][which].float()


def cache_features(photos: Sequence[Photo], tuned: Path | None = None) -> dict[str, Features]:
    """Features of all views by kind and split, computed where they are not on disk yet.

    `tuned` is a checkpoint of the tower with windows; saliency is always that of the tower as it came.
    """
    plain = BUILD / "features"
    folder = plain if tuned is None else BUILD / f"features-{tuned.stem}"
    if tuned is not None:
        cache_features(photos)  # for its saliency and its colors
    found, encoder = {}, None
    for name, views in all_views(photos).items():
        shards = [views[start : start + SHARD] for start in range(0, len(views), SHARD)]
        for number, shard in enumerate(shards):
            if (folder / name / f"{number:03}.json").exists():
                continue
            encoder = encoder or (Encoder() if tuned is None else Encoder(tuned))
            began = time.monotonic()
            _write_shard(encoder, shard, photos, folder / name / f"{number:03}")
            speed = len(shard) / (time.monotonic() - began)
            print(f"features {name} {number + 1} of {len(shards)} shards, {speed:.1f} views/s", flush=True)
        found[name] = _read(views, folder / name, plain / name)
    return found


class Encoder:
    """The tower, with the saliency head if it is the one that the head belongs to."""

    def __init__(self, tuned: Path | None = None) -> None:
        weights = tower_weights()
        self.tower = tower(weights, LAYERS + 1).to(DEVICE)
        self.saliency = Saliency(weights).to(DEVICE) if tuned is None else None
        if tuned is not None:
            restrict_attention(self.tower)
            self.tower.load_state_dict(
                torch.load(tuned, weights_only=True, map_location=DEVICE)["tower"], strict=False
            )

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens (B, 64, 1536) and a map of saliency (B, 128, 128)."""
        states = self.tower.embeddings(batch.to(DEVICE))
        for block in self.tower.encoder.layer[:LAYERS]:
            states = block(states)
        if self.saliency is None:
            return tokens_of(states).cpu(), None
        return tokens_of(states).cpu(), self.saliency(self.tower.encoder.layer[LAYERS](states)).cpu()


def _write_shard(encoder: Encoder, shard: Sequence[View], photos: Sequence[Photo], stem: Path) -> None:
    parts = list(_encoded(encoder, shard, photos))
    stem.parent.mkdir(parents=True, exist_ok=True)
    with replacing(stem.with_suffix(".npy")) as draft:
        np.save(draft, np.concatenate([tokens for tokens, _, _ in parts]))
    record = {
        "salient": [row for _, salient, _ in parts for row in salient],
        "colors": [color for _, _, colors in parts for color in colors],
    }
    with replacing(stem.with_suffix(".json")) as draft:
        draft.write_text(json.dumps(record))


def _encoded(
    encoder: Encoder, shard: Sequence[View], photos: Sequence[Photo]
) -> Iterator[tuple[np.ndarray, list[list[float]], list[str | None]]]:
    with ThreadPoolExecutor() as pool:  # pictures are made while the tower reads others
        drawn = pool.map(partial(_drawn, photos=photos), shard)
        while batch := list(islice(drawn, BATCH)):
            tokens, maps = encoder(torch.stack([values for _, values in batch]))
            if maps is None:
                yield tokens.half().numpy(), [], []
                continue
            salient = F.adaptive_avg_pool2d(maps, GRID).flatten(1)  # (B, 64)
            images = [image for image, _ in batch]
            colors = [color_of(image, one.numpy()) for image, one in zip(images, maps, strict=True)]
            yield tokens.half().numpy(), [[round(s, 4) for s in row] for row in salient.tolist()], colors


def _drawn(view: View, photos: Sequence[Photo]) -> tuple[Image.Image, Tensor]:
    """The picture of a view, and what the tower reads of it."""
    image = render(view, photos)
    return image, pixels(image)


def _read(views: list[View], folder: Path, plain: Path) -> Features:
    stems = [f"{number:03}" for number in range(-(-len(views) // SHARD))]
    records = [json.loads((plain / f"{stem}.json").read_text()) for stem in stems]
    return Features(
        views,
        [torch.from_numpy(np.load(folder / f"{stem}.npy", mmap_mode="c")) for stem in stems],
        torch.tensor([row for record in records for row in record["salient"]]),
        [color for record in records for color in record["colors"]],
    )


def cache(photos: Annotated[Path, typer.Argument(help="as for train.py")]) -> None:
    """Compute the features of all views, as far as they are not on disk yet."""
    cache_features(read_photos(photos))


if __name__ == "__main__":
    typer.run(cache)
