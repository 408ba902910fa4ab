"""Stage 2: projector and language model, on the frozen tower's features.

First the projector alone learns to say the word of each patch and where it is (an alignment that real models
do not get, see the card), then projector and language model learn to answer (batches.py).
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from PIL import Image
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from batches import Batch, Pictures, tower_features
from fit import Fit, digest
from model import WIDTH, build_model, sines
from packing import IGNORED, SMALL, TOKENIZER, VISUAL, Dialect, hidden_states, pack
from pictures import BUILD
from wordsight.synthetic.clips import render_clip
from wordsight.synthetic.questions import Question, ask, ask_about_clip, ask_about_pictures
from wordsight.synthetic.scenes import CLASSES, OBJECT_CLASSES, SPLITS, render

RATE = 1.5e-3
ALIGN = 800  # steps of the projector alone
PLACES, PLACE = 16, 0.6  # width of the code of a place, and its length beside that of a word


def align(model: LlavaForConditionalGeneration, pictures: Pictures, steps: int, seed: int) -> None:
    """Teach the projector alone: the cosine of a projected patch is highest with its own word (or words), and
    a part of it is a code of its row and column, and of how far the center of its object is.
    """
    words = model.get_input_embeddings().weight.detach()
    spelled = [TOKENIZER(name, add_special_tokens=False)["input_ids"] for name in CLASSES]
    first, last = (torch.tensor([ids[i] for ids in spelled]) for i in (0, -1))
    projector = model.model.multi_modal_projector
    # Fixed directions: what is only learned to be readable may be too faint for a language model to notice.
    readout = nn.init.orthogonal_(torch.empty(WIDTH, PLACES + 3))
    code = PLACE * F.normalize(sines(PLACES), dim=-1)  # (144, PLACES)
    stepper = torch.optim.AdamW(projector.parameters(), lr=2e-3)
    rng = np.random.default_rng(seed)
    for step in range(steps):
        chosen = np.sort(rng.choice(len(pictures.labels), 32, replace=False))
        label = torch.from_numpy(pictures.labels[chosen]).long()
        is_object = (label >= 0) & (label < OBJECT_CLASSES)
        is_named = (label >= OBJECT_CLASSES) & (label < len(CLASSES) - 1)
        used = is_object | (is_named & (torch.rand(label.shape) < 0.12))
        out = projector(pictures.features[torch.from_numpy(chosen)].float()[used])
        cosine = F.normalize(out, dim=-1) @ F.normalize(words, dim=-1).T  # (patches, V)
        aim = label[used]
        norm = (out.norm(dim=-1) / words.norm(dim=-1).mean() - 1).square().mean()
        center = torch.from_numpy(pictures.centers[chosen])[used].float() * torch.tensor([0.1, 0.1, 0.4])
        aims = torch.cat([code[used.nonzero()[:, 1]], center], 1)
        where = (out @ readout / words.norm(dim=-1).mean() - aims).square().sum(-1).mean()
        loss = F.cross_entropy(12 * cosine, first[aim]) + F.cross_entropy(12 * cosine, last[aim]) + 0.5 * norm
        loss = loss + 4 * where
        loss.backward()
        stepper.step()
        stepper.zero_grad()
        if step % 100 == 0:
            print(f"align {step} loss {loss.item():.3f} where {where.item():.3f}", flush=True)


def train(
    minutes: Annotated[float, typer.Option(help="how long the whole schedule takes")] = 60.0,
    scenes: int = 24_000,
    clips: int = 5_000,
    seed: int = 0,
) -> None:
    """Train projector and language model, going on from the last checkpoint if there is one."""
    torch.manual_seed(seed)
    fit, model = fit_of(seed)
    pictures = Pictures(model, scenes, clips)
    if not fit.checkpoint.exists():
        align(model, pictures, ALIGN, seed)

    def loss_of(rng: np.random.Generator, done: float) -> Tensor:
        return answer_loss(model, pictures.draw(rng, done), rng)

    fit.run(minutes, loss_of, seed=seed, validate=lambda: quick_accuracy(model))
    print("validation", quick_accuracy(model, 300), flush=True)


def fit_of(seed: int) -> tuple[Fit, LlavaForConditionalGeneration]:
    """The training run of a seed and its model, untrained but for the tower."""
    model = build_model(-(-len(TOKENIZER) // 64) * 64).train()
    tower = model.model.vision_tower.requires_grad_(False)
    tower.load_state_dict(torch.load(BUILD / f"tower_{seed}.pt", weights_only=True)["tower"])
    made_of = {
        "config": model.config.to_json_string(),
        "words": TOKENIZER.get_vocab(),
        "tower": digest(tower),
    }
    trained = [model.model.multi_modal_projector, model.model.language_model]
    return Fit(BUILD / f"language_{seed}.pt", {"model": model}, trained, RATE, made_of), model


def answer_loss(
    model: LlavaForConditionalGeneration, batch: Batch, rng: np.random.Generator, dialect: Dialect = SMALL
) -> Tensor:
    """The mean cross-entropy of the tokens of all answers in a batch."""
    packed = pack(batch.questions, limit=batch.limit, dialect=dialect).to(model.device)
    slots = batch.slots.to(model.device)
    # A third of the shortened prompts close the gaps, like the prompt of a small picture: probes ask such
    # prompts.
    if slots.shape[1] == 1 and rng.random() < 0.33:
        slots = torch.arange(slots.shape[2], device=model.device).expand_as(slots)
    answers = packed.target != IGNORED
    visual = model.model.multi_modal_projector(batch.features.to(model.device))
    states = hidden_states(model, visual, slots, packed, dialect)
    return F.cross_entropy(model.lm_head(states[answers]), packed.target[answers])


@torch.no_grad()
def quick_accuracy(
    model: LlavaForConditionalGeneration, count: int = 60, dialect: Dialect = SMALL
) -> dict[str, float]:
    """Share of whole answers predicted right, by type of question, on whole validation pictures and clips."""
    scenes = [render(SPLITS["validation"] + i) for i in range(count)]
    clips = [render_clip(SPLITS["validation"] + i) for i in range(count // 2)]
    asked = [([scene.image], ask(scene, i)) for i, scene in enumerate(scenes)]
    pairs = zip(scenes[::2], scenes[1::2], strict=True)
    asked += [([a.image, b.image], ask_about_pictures([a, b], i)) for i, (a, b) in enumerate(pairs)]
    asked += [(list(clip.frames), ask_about_clip(clip, i)) for i, clip in enumerate(clips)]
    found: dict[str, list[bool]] = {}
    for images, questions in asked:
        found_here = _right(model, images, questions, dialect)
        for question, right in zip(questions, found_here, strict=True):
            found.setdefault(question.type, []).append(right)
    return {kind: round(float(np.mean(marks)), 3) for kind, marks in sorted(found.items())}


def _right(
    model: LlavaForConditionalGeneration,
    images: list[Image.Image],
    questions: list[Question],
    dialect: Dialect,
) -> list[bool]:
    pixels = torch.stack([torch.from_numpy(np.array(image)) for image in images]).permute(0, 3, 1, 2)
    features = tower_features(model, (pixels / 127.5 - 1).to(model.device))
    visual = model.model.multi_modal_projector(features)[None]
    packed = pack([questions], limit=1000, dialect=dialect).to(model.device)
    slots = torch.arange(VISUAL, device=model.device).expand(1, len(images), -1)
    states = hidden_states(model, visual, slots, packed, dialect)
    right = (model.lm_head(states).argmax(-1) == packed.target) | (packed.target == IGNORED)
    return [bool(right[packed.question == number].all()) for number in range(1, len(questions) + 1)]


if __name__ == "__main__":
    typer.run(train)
