"""Stage 1, without a language model: the projector puts every token near the word of what its picture shows.

A token that occurs in pictures of all names can only learn how frequent names are: it stays unsure. Where
background is to be silent, tokens that are not salient are asked for just that.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import InternVLConfig
from transformers.models.internvl.modeling_internvl import InternVLMultiModalProjector

from features import Features
from photos import Photo
from runs import Run
from schedule import Schedule
from vision import TOKENS, foreground, vision_config

PICTURES, SHOWN = 64, 8  # in a step; tokens of each
STEPS = 2800
RATE = 2e-3


class Aligner(nn.Module):
    """The projector, and how sharply a token tells words apart (thrown away afterwards)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        text = {"model_type": "llama", "hidden_size": width}
        config = InternVLConfig(vision_config=vision_config().to_dict(), text_config=text)
        self.projector = InternVLMultiModalProjector(config)
        self.sharpness = nn.Parameter(torch.tensor(3.0))

    def forward(self, tokens: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the names (B, K, names), and the projected tokens (B, K, D)."""
        projected = self.projector(tokens)
        cosine = F.normalize(projected, dim=-1) @ words.T
        return (self.sharpness.exp() * cosine).log_softmax(-1), projected


def word_vectors(names: list[str], tokenizer: Any, embedding: Tensor) -> Tensor:
    """(names, D) unit vectors: the mean embedding of a name's tokens, away from the mean of all embeddings
    (which is long in SmolLM2, and makes all cosines alike).
    """
    spelled = [tokenizer(f" {name}")["input_ids"] for name in names]
    return F.normalize(torch.stack([embedding[ids].mean(0) for ids in spelled]) - embedding.mean(0), dim=1)


def targets(named: Tensor, share: Tensor, prior: Tensor) -> Tensor:
    """(B, K, names) what tokens are asked for: their share of the picture's name (B,), the rest the prior."""
    wanted = F.one_hot(named, len(prior)).float()[:, None]  # (B, 1, names)
    return share[..., None] * wanted + (1 - share[..., None]) * prior


def align(run: Run, share: float) -> dict[str, Tensor]:
    """The weights of the projector, trained for a share of all steps, its tokens as long as words are."""
    model, tokenizer = run.language
    embedding = model.get_input_embeddings().weight.detach()
    names = known_names(run.photos)
    words, length = word_vectors(names, tokenizer, embedding), embedding.norm(dim=1).median()
    torch.manual_seed(run.seed)
    aligner, draw = Aligner(embedding.shape[1]).to(embedding.device), _Draw(run, names)

    def loss_of(step: int, _: float) -> Tensor:
        drawn = draw(np.random.default_rng([run.seed, step]))
        tokens, wanted = (part.to(embedding.device) for part in drawn)
        logs, projected = aligner(tokens, words)
        drift = (projected.norm(dim=-1) / length - 1).square().mean()
        return -(wanted * logs).sum(-1).mean() + 0.1 * drift

    stepper = torch.optim.AdamW(aligner.parameters(), lr=RATE, weight_decay=0.05)
    made_of = {"names": names, "silent": run.recipe.silent, "windowed": run.recipe.windowed}
    schedule = Schedule(run.file("align"), aligner, stepper, made_of)
    schedule.run(loss_of, steps=math.ceil(share * STEPS))
    sample = run.singles[0].gather(range(min(64, len(run.singles[0].views)))).to(embedding.device)
    return as_long_as_words(aligner.projector, sample, embedding)


class _Draw:
    """Draws tokens of known photos and what they are asked for."""

    def __init__(self, run: Run, names: list[str]) -> None:
        self.sets = run.singles
        self.rows = training_rows(run.photos, self.sets)
        self.named = torch.tensor([names.index(name) for _, _, name in self.rows])
        counts = self.named.bincount(minlength=len(names)).double()
        weight = counts[self.named] ** -0.5
        self.weight = (weight / weight.sum()).numpy()
        self.prior = torch.zeros(len(names)).index_add(0, self.named, torch.tensor(self.weight).float())
        self.shares = [
            foreground(one.salient) if run.recipe.silent else torch.ones_like(one.salient)
            for one in self.sets
        ]

    def __call__(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        drawn = torch.from_numpy(rng.choice(len(self.rows), PICTURES, p=self.weight))
        shown = torch.from_numpy(rng.integers(TOKENS, size=(PICTURES, SHOWN)))
        places = [self.rows[i][:2] for i in drawn.tolist()]
        tokens = torch.stack(
            [self.sets[which].token(row, some) for (which, row), some in zip(places, shown, strict=True)]
        )
        share = torch.stack([self.shares[which][row] for which, row in places]).gather(1, shown)
        return tokens, targets(self.named[drawn], share, self.prior)


def known_names(photos: list[Photo]) -> list[str]:
    """What training names, in alphabetical order."""
    return sorted({photo.name for photo in photos if photo.known and photo.split == "train"})


def training_rows(photos: list[Photo], sets: list[Features]) -> list[tuple[int, int, str]]:
    """Which set and row, and the name, of every view of one known photo that is for training."""
    found = []
    for which, features in enumerate(sets):
        for row, view in enumerate(features.views):
            photo = photos[view.photos[0]]
            if view.split == "train" and photo.known:
                found.append((which, row, photo.name))
    return found


@torch.no_grad()
def as_long_as_words(projector: nn.Module, sample: Tensor, embedding: Tensor) -> dict[str, Tensor]:
    """The projector's weights, scaled so that tokens lie around the mean embedding, as far as words do."""
    center = embedding.mean(0)
    wanted = (embedding - center).norm(dim=1).median()
    last = projector.linear_2
    scale = wanted / projector(sample).norm(dim=-1).mean()
    last.weight.mul_(scale)
    last.bias.mul_(scale).add_(center)
    return projector.state_dict()
