"""Stage 2: projector and language model, on the frozen tower's features.

First the projector alone learns to say the word of each patch (an alignment that real models do not get,
see the card), then projector and language model learn to answer. Two thirds of the batches show only some
of the tokens of a picture, with questions about what those tokens show: the model then reads pruned prompts
as well as whole ones.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Annotated

import easy_vqa
import numpy as np
import torch
import torch.nn.functional as F
import typer
from PIL import Image
from rich.progress import track
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from model import build_model, optimizers, step_all
from packing import IGNORED, TOKENIZER, VISUAL, hidden_states, pack
from pictures import BUILD, CHUNK, cache_easy_vqa, cache_scenes
from wordsight.atomic import replacing
from wordsight.demo.questions import Question, ask, probe_answers
from wordsight.demo.scenes import CLASSES, GRID, OBJECT_CLASSES, SPLITS, Array, Scene, Thing, render
from wordsight.probe import QUESTION

RATE = 2e-3
TEXT_LIMIT = 200
ROWS = 16  # pictures in a batch of whole pictures; smaller prompts get more
EASY_QUESTIONS = 6
CHECKPOINT = BUILD / "language.pt"


class Pictures:
    """Tower features (P, 144, 192) of all training pictures, and what is true of each."""

    def __init__(self, model: LlavaForConditionalGeneration, scenes: int) -> None:
        images, labels, owners = cache_scenes(scenes)
        easy_images, _ = cache_easy_vqa()
        self.features = cached_features(model, f"features_{scenes}.pt", images)
        self.easy_features = cached_features(model, "features_easy.pt", easy_images)
        self.labels, self.owners = (
            np.asarray(labels).reshape(-1, VISUAL),
            np.asarray(owners).reshape(-1, VISUAL),
        )
        self.facts = _facts(scenes)
        self.easy_questions: list[list[Question]] = [[] for _ in range(len(easy_images))]
        for text, answer, picture in zip(*easy_vqa.get_train_questions(), strict=True):
            self.easy_questions[picture].append(Question("easy", text, answer))

    def questions(self, number: int, slots: Array, seed: int) -> list[Question]:
        """Questions about what the tokens in `slots` show of scene `number`, the one-word probe first."""
        rng = np.random.default_rng([seed, number])
        visible = frozenset(int(i) for i in np.unique(self.owners[number, slots]) if i >= 0)
        shown = {CLASSES[i] for i in np.unique(self.labels[number, slots]) if i >= OBJECT_CLASSES}
        fact = self.facts[number]
        scene = replace(fact, backgrounds=tuple(name for name in fact.backgrounds if name in shown))
        answers = probe_answers(scene, visible)
        if scene.backgrounds and rng.random() < 0.05:
            answers = list(scene.backgrounds)
        probe = [Question("probe", QUESTION, answers[int(rng.integers(len(answers)))])] if answers else []
        return [*probe, *ask(scene, int(rng.integers(1 << 30)), visible=visible)]


def _facts(count: int) -> list[Scene]:
    """Things and backgrounds of every training scene, without the pixels, from a JSON file made once."""
    path = BUILD / f"scenes_{count}_facts.json"
    if not path.exists():
        with ProcessPoolExecutor() as pool:
            starts = range(0, count, CHUNK)
            parts = list(track(pool.map(_fact_chunk, starts), "facts", total=len(starts)))
        path.write_text(json.dumps([fact for part in parts for fact in part][:count]))
    blank, empty = Image.new("RGB", (1, 1)), np.zeros(0)
    return [
        Scene(
            blank,
            tuple(Thing(noun, color, tuple(box)) for noun, color, box in things),
            tuple(names),
            empty,
            empty,
        )
        for things, names in json.loads(path.read_text())
    ]


def _fact_chunk(start: int) -> list[tuple[list[tuple[str, str | None, tuple[int, ...]]], tuple[str, ...]]]:
    scenes = [render(SPLITS["train"] + start + i) for i in range(CHUNK)]
    return [([(t.noun, t.color, t.box) for t in scene.things], scene.backgrounds) for scene in scenes]


@torch.no_grad()
def cached_features(model: LlavaForConditionalGeneration, name: str, images: Array) -> Tensor:
    path = BUILD / name
    if not path.exists():
        parts = []
        for start in track(range(0, len(images), 100), f"features {name}"):
            pixels = torch.from_numpy(np.ascontiguousarray(images[start : start + 100].transpose(0, 3, 1, 2)))
            with torch.autocast("cpu", torch.bfloat16):
                parts.append(_features(model, pixels / 127.5 - 1).half())
        torch.save(torch.cat(parts), path)
    return torch.load(path, weights_only=True, mmap=True)


def _features(model: LlavaForConditionalGeneration, pixels: Tensor) -> Tensor:
    """What the projector reads of pictures (B, 3, 192, 192): the features of their patches, (B, 144, 192)."""
    layers = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
    patches: Tensor = layers[model.config.vision_feature_layer][:, 1:]
    return patches


def align(model: LlavaForConditionalGeneration, pictures: Pictures, steps: int, seed: int) -> None:
    """Teach the projector alone: the cosine of a projected patch is highest with its own word (or words)."""
    words = model.get_input_embeddings().weight.detach()
    spelled = [TOKENIZER(name, add_special_tokens=False)["input_ids"] for name in CLASSES]
    first, last = (torch.tensor([ids[i] for ids in spelled]) for i in (0, -1))
    projector = model.model.multi_modal_projector
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
        loss = F.cross_entropy(12 * cosine, first[aim]) + F.cross_entropy(12 * cosine, last[aim]) + 0.5 * norm
        loss.backward()
        stepper.step()
        stepper.zero_grad()
        if step % 100 == 0:
            print(f"align {step} loss {loss.item():.3f}", flush=True)


def choose_cells(rng: np.random.Generator) -> tuple[int, list[Array]]:
    """How many rows this batch has, and which cells each of them shows: all, a random few, or a window."""
    kind = rng.random()
    if kind < 0.4:
        return ROWS, [np.arange(VISUAL)] * ROWS
    kept = int(np.exp(rng.uniform(np.log(3), np.log(100))))
    if kind < 0.7:
        rows = int(ROWS * (VISUAL + 160) / (kept + 160))
        return rows, [np.sort(rng.choice(VISUAL, kept, replace=False)) for _ in range(rows)]
    side = int(rng.choice([1, 1, 2, 3, 3, 4, 6, 8]))
    rows = int(ROWS * (VISUAL + 160) / (side * side + 80))
    corners = rng.integers(0, GRID - side + 1, (rows, 2))
    grid = np.arange(VISUAL).reshape(GRID, GRID)
    return rows, [grid[y : y + side, x : x + side].flatten() for y, x in corners]


def train(
    minutes: Annotated[float, typer.Option(help="how long the whole schedule takes")] = 60.0,
    scenes: int = 24_000,
    seed: int = 0,
) -> None:
    """Train projector and language model, going on from the last checkpoint if there is one."""
    torch.manual_seed(seed)
    model = build_model(-(-len(TOKENIZER) // 64) * 64).train()
    model.model.vision_tower.load_state_dict(torch.load(BUILD / "tower.pt", weights_only=True)["tower"])
    model.model.vision_tower.requires_grad_(False)
    pictures = Pictures(model, scenes)
    steppers = optimizers([model.model.multi_modal_projector, model.model.language_model], rate=RATE)
    step, spent = 0, 0.0
    if CHECKPOINT.exists():
        saved = torch.load(CHECKPOINT, weights_only=True)
        model.load_state_dict(saved["model"])
        for stepper, state in zip(steppers, saved["steppers"], strict=True):
            stepper.load_state_dict(state)
        step, spent = saved["step"], saved["spent"]
    else:
        align(model, pictures, 400, seed)
    began, history = time.monotonic() - spent, []
    while (elapsed := time.monotonic() - began) < minutes * 60:
        rate = RATE * min(1, (step + 1) / 100) * max(0.03, 1 - elapsed / (minutes * 60))
        history.append(_step(model, pictures, steppers, np.random.default_rng([seed, step]), rate))
        step += 1
        if step % 100 == 0:
            print(f"step {step} {elapsed:.0f} s loss {np.mean(history[-100:]):.3f}", flush=True)
        if step % 500 == 0:
            _save(model, steppers, step=step, spent=time.monotonic() - began)
            print("validation", quick_accuracy(model), flush=True)
    _save(model, steppers, step=step, spent=time.monotonic() - began)
    print("validation", quick_accuracy(model, 300), flush=True)


def _step(
    model: LlavaForConditionalGeneration,
    pictures: Pictures,
    steppers: list[torch.optim.Optimizer],
    rng: np.random.Generator,
    rate: float,
) -> float:
    rows, cells = choose_cells(rng)
    if rng.random() < 0.1 and rows == ROWS:
        chosen = torch.from_numpy(np.sort(rng.choice(len(pictures.easy_questions), rows, replace=False)))
        features = pictures.easy_features[chosen]
        asked = [pictures.easy_questions[i] for i in chosen.tolist()]
        questions = [[row[i] for i in rng.permutation(len(row))[:EASY_QUESTIONS]] for row in asked]
    else:
        chosen = torch.from_numpy(np.sort(rng.choice(len(pictures.facts), rows, replace=False)))
        features = pictures.features[chosen]
        seed = int(rng.integers(1 << 30))
        questions = [
            pictures.questions(i, kept, seed) for i, kept in zip(chosen.tolist(), cells, strict=True)
        ]
    index = torch.from_numpy(np.stack(cells))  # (B, K)
    features = features.gather(1, index[..., None].expand(-1, -1, features.shape[-1])).float()
    packed = pack(questions, limit=TEXT_LIMIT)
    # A third of the shortened prompts close the gaps, like the prompt of a small picture: probes ask such
    # prompts.
    slots = torch.arange(index.shape[1]).expand_as(index) if rng.random() < 0.33 else index
    answers = packed.target != IGNORED
    with torch.autocast("cpu", torch.bfloat16):
        states = hidden_states(model, model.model.multi_modal_projector(features), slots, packed)
        logits = model.lm_head(states[answers])
    loss = F.cross_entropy(logits.float(), packed.target[answers])
    loss.backward()
    nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    step_all(steppers, rate)
    return loss.item()


def _save(
    model: LlavaForConditionalGeneration, steppers: list[torch.optim.Optimizer], *, step: int, spent: float
) -> None:
    state = {
        "model": model.state_dict(),
        "steppers": [stepper.state_dict() for stepper in steppers],
        "step": step,
        "spent": spent,
    }
    with replacing(CHECKPOINT) as draft:
        torch.save(state, draft)


@torch.no_grad()
def quick_accuracy(model: LlavaForConditionalGeneration, count: int = 60) -> dict[str, float]:
    """Share of whole answers predicted right, by type of question, on whole validation scenes."""
    scenes = [render(SPLITS["validation"] + i) for i in range(count)]
    found: dict[str, list[bool]] = {}
    for i, scene in enumerate(scenes):
        pixels = torch.from_numpy(np.array(scene.image)).permute(2, 0, 1)[None] / 127.5 - 1
        visual = model.model.multi_modal_projector(_features(model, pixels))
        questions = ask(scene, i)
        packed = pack([questions], limit=1000)
        states = hidden_states(model, visual, torch.arange(VISUAL)[None], packed)
        right = (model.lm_head(states).argmax(-1) == packed.target) | (packed.target == IGNORED)
        for number, question in enumerate(questions, 1):
            found.setdefault(question.type, []).append(bool(right[packed.question == number].all()))
    return {kind: round(float(np.mean(marks)), 3) for kind, marks in sorted(found.items())}


if __name__ == "__main__":
    typer.run(train)
