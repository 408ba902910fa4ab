"""Stage 1: the vision tower, taught what every patch shows, backgrounds included (that is what keeps it
local).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn

from model import FEATURE_LAYER, VISION_WIDTH, build_model, optimizers
from pictures import BUILD, SCENES, cache_easy_vqa, cache_scenes
from schedule import DEVICE, Schedule
from wordsight.synthetic.scenes import CLASSES, GRID, OBJECT_CLASSES, SPLITS, Array, render

BATCH = 32


class Heads(nn.Module):
    """What is read off the tower while it trains; thrown away afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Linear(VISION_WIDTH, len(CLASSES))
        self.place = nn.Linear(VISION_WIDTH, 2)
        self.center = nn.Linear(VISION_WIDTH, 3)
        self.picture = nn.Linear(VISION_WIDTH, len(CLASSES))


def train(
    seed: int = 0,
    minutes: Annotated[float, typer.Option(help="of processor time, for the whole schedule")] = 48.0,
    scenes: Annotated[int, typer.Option(help="how many training scenes to render")] = SCENES,
) -> None:
    """Train the tower, going on from its last checkpoint if there is one."""
    torch.manual_seed(seed)
    images, labels, owners, centers = cache_scenes(scenes)
    easy_images, easy_labels = cache_easy_vqa()
    unowned = np.full(easy_labels.shape, -1), np.zeros((*easy_labels.shape, 3))
    whole = build_model(8)
    parts = nn.ModuleDict({"tower": whole.model.vision_tower, "heads": Heads()}).to(DEVICE).train()
    run = torch.compile(parts["tower"])

    def loss_of(step: int, _: float) -> Tensor:
        rng = np.random.default_rng([seed, step])
        use_easy = rng.random() < 0.08
        source = (easy_images, easy_labels, *unowned) if use_easy else (images, labels, owners, centers)
        return _loss(run, parts["heads"], tuple(part.to(DEVICE) for part in _batch(rng, *source)))

    made_of = {"config": whole.config.vision_config.to_json_string()}
    file = BUILD / f"tower_{seed}.pt"
    Schedule(file, parts, optimizers([parts], rate=1.5e-3), made_of).run(loss_of, minutes=minutes)
    print("validation", accuracy(parts["tower"], parts["heads"]), flush=True)


def _batch(
    rng: np.random.Generator, images: Array, labels: Array, owners: Array, centers: Array
) -> tuple[Tensor, ...]:
    """Pixels (B, 3, 192, 192) in [-1, 1] and labels, owners (B, 144) and centers (B, 144, 3), flipped and
    recolored a little.
    """
    chosen = np.sort(rng.choice(len(images), BATCH, replace=False))
    arrays = [array[chosen] for array in (images, labels, owners, centers)]
    if rng.random() < 0.5:
        arrays = [array[:, :, ::-1] for array in arrays]
        arrays[3] = arrays[3] * np.array([1, -1, 1])
    pixels, patch, owner, center = (torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)
    bright = torch.from_numpy(rng.uniform(0.92, 1.08, (BATCH, 3, 1, 1)).astype(np.float32))
    x = (pixels.permute(0, 3, 1, 2).float() * bright).clamp_(0, 255).div_(127.5).sub_(1)
    return x, patch.long().flatten(1), owner.flatten(1), center.float().flatten(1, 2)


def _loss(tower: Callable[..., Any], heads: Heads, batch: tuple[Tensor, ...]) -> Tensor:
    pixels, target, owner, center = batch
    outputs = tower(pixels, output_hidden_states=True)
    patches = outputs.hidden_states[FEATURE_LAYER][:, 1:]  # (B, 144, D), what the language model will read
    patch, place, middle = heads.patch(patches), heads.place(patches), heads.center(patches)
    picture = heads.picture(outputs.last_hidden_state[:, 0])
    is_object = (target >= 0) & (target < OBJECT_CLASSES)
    is_background = target >= OBJECT_CLASSES
    present = F.one_hot(target.clamp(min=0), len(CLASSES)) * (target >= 0)[..., None]  # (B, 144, classes)
    line = torch.arange(GRID, device=target.device)
    spot = torch.cartesian_prod(line, line).expand(len(target), -1, -1).float()
    loss = (
        F.cross_entropy(patch[is_object], target[is_object])
        + 0.7 * F.cross_entropy(patch[is_background], target[is_background])
        + 5 * F.binary_cross_entropy_with_logits(picture, present.amax(1).float())
        + 2 * F.smooth_l1_loss(place, spot)
    )
    if (owner >= 0).any():
        offset, share = middle[owner >= 0].split([2, 1], -1)
        aim, true_share = center[owner >= 0].split([2, 1], -1)
        loss = loss + 2 * F.smooth_l1_loss(offset, aim) + 10 * F.mse_loss(share, true_share)
    return loss


@torch.no_grad()
def accuracy(tower: nn.Module, heads: Heads, count: int = 100) -> dict[str, float]:
    """Share of patches and of object patches named right on validation scenes."""
    scenes = [render(SPLITS["validation"] + i) for i in range(count)]
    right, objects = [], []
    for start in range(0, count, 50):
        part = scenes[start : start + 50]
        pixels = (
            torch.stack([torch.from_numpy(np.array(s.image)) for s in part]).permute(0, 3, 1, 2) / 127.5 - 1
        )
        target = torch.from_numpy(np.stack([s.labels for s in part])).long().flatten(1).to(DEVICE)
        features = tower(pixels.to(DEVICE), output_hidden_states=True).hidden_states[FEATURE_LAYER][:, 1:]
        match = heads.patch(features).argmax(-1) == target
        right.append(match[target >= 0].float())
        objects.append(match[(target >= 0) & (target < OBJECT_CLASSES)].float())
    return {"patches": torch.cat(right).mean().item(), "object patches": torch.cat(objects).mean().item()}


if __name__ == "__main__":
    typer.run(train)
