"""Stage 2: projector and language model, on the frozen tower's features.

First the projector alone learns to say the word of each patch and where it is (an alignment that real models
do not get, see the card), then projector and language model learn to answer (recipes.py).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from ahead import Ahead
from batches import Pictures, Recipe
from model import WIDTH, build_model, optimizers, sines
from packing import IGNORED, TOKENIZER, Packed, hidden_states, in_turns, pack
from pictures import BUILD, CLIPS, SCENES
from recipes import RECIPES
from schedule import DEVICE, Schedule, digest, load
from wordsight import demo
from wordsight.synthetic.scenes import CLASSES, OBJECT_CLASSES

Name = Literal["whole", "pruned", "silent", "warmed"]
SHIPPED = {1: demo.MODEL}  # by seed; those of others are in MODELS
MODELS = Path(__file__).parent.parent / "benchmarks" / "models"
RATE = 1.5e-3
LATER = 0.3  # share of the rate for a recipe that goes on from a trained model
GO_ON = ("silent",)  # those recipes: from the model of `whole` of the same seed
ALIGN = 800  # steps of the projector alone
PLACES, PLACE = 16, 0.6  # width of the code of a place, and its length beside that of a word


def align(model: LlavaForConditionalGeneration, pictures: Pictures, steps: int, seed: int) -> None:
    """Teach the projector alone: the cosine of a projected patch is highest with its own word (or words), and
    a part of it is a code of its row and column, and of how far the center of its object is.
    """
    words = model.get_input_embeddings().weight.detach()
    spelled = [TOKENIZER(name, add_special_tokens=False)["input_ids"] for name in CLASSES]
    first, last = (torch.tensor([ids[i] for ids in spelled], device=DEVICE) for i in (0, -1))
    projector = model.model.multi_modal_projector
    # Fixed directions: what is only learned to be readable may be too faint for a language model to notice.
    readout = nn.init.orthogonal_(torch.empty(WIDTH, PLACES + 3)).to(DEVICE)
    code = PLACE * F.normalize(sines(PLACES), dim=-1)  # (144, PLACES)
    stepper = torch.optim.AdamW(projector.parameters(), lr=2e-3)
    rng, pool = np.random.default_rng(seed), pictures.scenes
    for step in range(steps):
        chosen = np.sort(rng.choice(len(pool.facts), 32, replace=False))
        label = torch.from_numpy(pool.labels[chosen]).long()
        is_object = (label >= 0) & (label < OBJECT_CLASSES)
        is_named = (label >= OBJECT_CLASSES) & (label < len(CLASSES) - 1)
        used = is_object | (is_named & (torch.rand(label.shape) < 0.12))
        out = projector(pool.features[torch.from_numpy(chosen)][used].float().to(DEVICE))
        cosine = F.normalize(out, dim=-1) @ F.normalize(words, dim=-1).T  # (patches, V)
        aim = label[used].to(DEVICE)
        norm = (out.norm(dim=-1) / words.norm(dim=-1).mean() - 1).square().mean()
        center = torch.from_numpy(pool.centers[chosen])[used].float() * torch.tensor([0.1, 0.1, 0.4])
        aims = torch.cat([code[used.nonzero()[:, 1]], center], 1).to(DEVICE)
        where = (out @ readout / words.norm(dim=-1).mean() - aims).square().sum(-1).mean()
        loss = F.cross_entropy(12 * cosine, first[aim]) + F.cross_entropy(12 * cosine, last[aim]) + 0.5 * norm
        loss = loss + 4 * where
        loss.backward()
        stepper.step()
        stepper.zero_grad()
        if step % 100 == 0:
            print(f"align {step} loss {loss.item():.3f} where {where.item():.3f}", flush=True)


def train(  # noqa: PLR0913  # options of a command
    recipe: Annotated[Name, typer.Option(help="see recipes.py")] = "whole",
    seed: int = 0,
    minutes: Annotated[float, typer.Option(help="of processor time, for the whole schedule")] = 110.0,
    scenes: int = SCENES,
    clips: int = CLIPS,
    steps: Annotated[
        int | None, typer.Option(min=1, help="of the whole schedule, in place of minutes")
    ] = None,
) -> None:
    """Train projector and language model, going on from the last checkpoint if there is one."""
    torch.manual_seed(seed)
    model, goes_on = start(seed, recipe), recipe in GO_ON
    pictures = Pictures(model, scenes, clips, small=not goes_on)
    file = checkpoint(recipe, seed)
    if not file.exists() and not goes_on:
        align(model, pictures, ALIGN, seed)
    draw = partial(draw_batch, RECIPES[recipe](pictures), seed)
    ahead = Ahead(lambda step: draw(step, step / steps), steps) if steps else None

    def loss_of(step: int, done: float) -> Tensor:
        return answer_loss(model, *(ahead(step) if ahead else draw(step, done)))

    trained = nn.ModuleList([model.model.multi_modal_projector, model.model.language_model])
    stepper = optimizers([trained], rate=RATE * (LATER if goes_on else 1))
    Schedule(file, model, stepper, made_of(recipe, model)).run(loss_of, steps=steps, minutes=minutes)


def checkpoint(recipe: Name, seed: int) -> Path:
    """The file of a training run."""
    return BUILD / f"language_{recipe}_{seed}.pt"


def trained_model(recipe: Name, seed: int) -> LlavaForConditionalGeneration:
    """The model of a training run as it is now."""
    model = start(seed, recipe)
    model.load_state_dict(load(checkpoint(recipe, seed), made_of(recipe, model))["trained"])
    return model


def made_of(recipe: Name, model: LlavaForConditionalGeneration) -> dict[str, object]:
    """What the checkpoint of a run belongs to."""
    tower = digest(model.model.vision_tower)
    config = model.config.to_json_string()
    return {"recipe": recipe, "config": config, "words": TOKENIZER.get_vocab(), "tower": tower}


def start(seed: int, recipe: Name = "whole") -> LlavaForConditionalGeneration:
    """What a recipe begins with: a model that is untrained but for its tower, that of stage 1 or of the model
    of `whole` that is there; or all of that model.
    """
    model = build_model(-(-len(TOKENIZER) // 64) * 64).train()
    file, there = BUILD / f"tower_{seed}.pt", SHIPPED.get(seed, MODELS / f"whole-{seed}")
    if recipe in GO_ON:
        if not there.exists():
            raise SystemExit(f"{there} is not there: train it by language.py --seed {seed}, then export.py")
        model.load_state_dict(_read(there).state_dict())
    elif file.exists():
        weights = torch.load(file, weights_only=True, map_location="cpu")["trained"]
        weights = {name.removeprefix("tower."): w for name, w in weights.items() if name.startswith("tower.")}
        model.model.vision_tower.load_state_dict(weights)
    elif there.exists():
        model.model.vision_tower.load_state_dict(_read(there).model.vision_tower.state_dict())
    else:
        raise SystemExit(
            f"neither {file} nor {there} is there: train a tower by tower.py --seed {seed} first"
        )
    model.model.vision_tower.requires_grad_(False)
    return model.to(DEVICE)


def _read(folder: Path) -> LlavaForConditionalGeneration:
    return LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)


def draw_batch(recipe: Recipe, seed: int, step: int, done: float) -> tuple[Tensor, Tensor, Packed]:
    """The features, cells and conversations of the batch of a step."""
    rng = np.random.default_rng([seed, step])
    batch = recipe.draw(rng, done)
    packed = pack([in_turns(rng, row) for row in batch.questions], limit=batch.limit)
    slots = batch.slots
    # A third of the shortened prompts close the gaps, like the prompt of a small picture: probes ask such
    # prompts.
    if slots.shape[1] == 1 and rng.random() < 0.33:
        slots = torch.arange(slots.shape[2]).expand_as(slots)
    return batch.features, slots, packed


def answer_loss(
    model: LlavaForConditionalGeneration, features: Tensor, slots: Tensor, packed: Packed
) -> Tensor:
    """The mean cross-entropy of the tokens of all answers in a batch."""
    packed = packed.to(model.device)
    answers = packed.target != IGNORED
    visual = model.model.multi_modal_projector(features.to(model.device))
    states = hidden_states(model, visual, slots, packed)
    return F.cross_entropy(model.lm_head(states[answers]), packed.target[answers])


if __name__ == "__main__":
    typer.run(train)
