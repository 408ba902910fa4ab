"""Stage 2: projector and LoRA learn to answer.

A share of the steps shows few tokens of a photo and asks what it shows, so that one token alone, or a tenth
of them, is nothing new to the model. Where background is to be silent, tokens that are all background are
asked for another photo's name: the model learns how frequent names are, not a word for background.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.internvl.modeling_internvl import InternVLMultiModalProjector

from alignment import Aligner, align, known_names, training_rows
from features import Features
from lora import adapt
from names import UNSURE
from photos import Photo
from prompts import IGNORED, VISUAL, Layout, Row, stack
from questions import NAMING, Question, Questioner
from runs import Run
from schedule import Schedule, load
from vision import GRID, TOKENS, foreground
from wheels import BUILD

SUBSETS = {0: 32, 1: 32, 2: 24, 4: 24, 8: 20, 16: 16, 32: 12}  # tokens shown, and pictures in such a step
OFTEN = (0, 1, 1, 1, 1, 2, 4, 8, 16, 32)
WHOLE, PAIRS = 8, 5  # conversations in a step
SHORT_WHOLE, SHORT_PAIRS = 14, 10  # the same, where the most salient tokens are shown
SALIENT = 8, 12, 16  # how many of those, in a picture
TURNS = 3  # at most, in a conversation
GAPS = 0.5  # how many prompts of few tokens keep the positions of those left out
CORNERS = [
    [GRID * row + column for row in range(top, top + GRID // 2) for column in range(left, left + GRID // 2)]
    for top in (0, GRID // 2)
    for left in (0, GRID // 2)
]  # tokens of each, of a collage
PROJECTOR_RATE, LORA_RATE = 3e-4, 1e-3


@dataclass(frozen=True)
class Mixture:
    """What steps are made of.

    few    share of the steps that show few tokens of a photo.
    kinds  what the other steps ask about, and how often.
    short  share of those that show only the most salient tokens: half the price, more conversations.
    """

    few: float
    kinds: dict[str, float]
    short: float = 0.0


NAMES_FIRST = Mixture(0.4, {"single": 0.45, "collage": 0.3, "unknown": 0.1, "pair": 0.15})
RELATIONS = Mixture(0.25, {"single": 0.25, "collage": 0.5, "unknown": 0.07, "pair": 0.18}, short=0.6)


@dataclass(frozen=True)
class Drawn:
    """A batch: features of every row's pictures, and its conversation."""

    features: list[Tensor]  # (K, 1536) each, over all pictures of the row
    rows: list[Row]


class Draw:
    """Draws batches from cached views."""

    def __init__(self, run: Run, layout: Layout) -> None:
        photos, self.recipe, self.layout = run.photos, run.recipe, layout
        self.sets, self.collages = run.singles, run.features["collages-train"]
        self.singles = by_name(training_rows(photos, self.sets))
        self.names = sorted(self.singles)
        whole = self.sets[0]
        self.unknown = [
            (0, row)
            for row, view in enumerate(whole.views)
            if view.split == "train" and not photos[view.photos[0]].known
        ]
        self.questioner = Questioner(photos, lookalikes(photos, whole))
        self.shares = [foreground(one.salient) for one in self.sets]
        self.mixture = RELATIONS if self.recipe.goes_on else NAMES_FIRST

    def __call__(self, rng: random.Random) -> Drawn:
        """A batch; every name is drawn as often as any other."""
        mixture = self.mixture
        if self.recipe.subsets and rng.random() < mixture.few:
            return self._few(rng)
        kind = rng.choices(list(mixture.kinds), mixture.kinds.values())[0]
        short = mixture.short > 0 and rng.random() < mixture.short
        if kind == "pair":
            return self._pairs(short, rng)
        return self._whole(kind, short, rng)

    def _few(self, rng: random.Random) -> Drawn:
        count = rng.choice(OFTEN)
        features, rows = [], []
        for _ in range(SUBSETS[count]):
            (which, row), name = self._single(rng)
            slots = sorted(rng.sample(range(TOKENS), count))
            share = self._share(which, row, slots)
            said = name if rng.random() < share else rng.choice(self.names)
            features.append(self.sets[which].gather([row])[0][slots])
            question = Question("names", rng.choice(NAMING), said)
            shown = slots if rng.random() < GAPS else list(range(count))
            whole = TOKENS if shown is slots else count
            rows.append(self.layout.row([shown], whole, [question]))
        return Drawn(features, rows)

    def _share(self, which: int, row: int, slots: list[int]) -> float:
        if not slots:
            return 0.0
        return float(self.shares[which][row][slots].max()) if self.recipe.silent else 1.0

    def _whole(self, kind: str, short: bool, rng: random.Random) -> Drawn:
        features, rows = [], []
        for _ in range(SHORT_WHOLE if short else WHOLE):
            one, row = self._view(kind, rng)
            turns = self.questioner.about(one.views[row], one.colors[row], rng)[:TURNS]
            slots = self._slots(one, row, short, rng)
            features.append(one.gather([row])[0][slots])
            rows.append(self.layout.row([slots], TOKENS, turns))
        return Drawn(features, rows)

    def _slots(self, one: Features, row: int, short: bool, rng: random.Random) -> list[int]:
        """Which tokens of a view are shown: all, or some of its most salient, of a collage's every corner."""
        if not short:
            return list(range(TOKENS))
        parts = CORNERS if one.views[row].kind == "collage" else [list(range(TOKENS))]
        count, salient = rng.choice(SALIENT) // len(parts), one.salient[row].tolist()
        ranked = [sorted(part, key=salient.__getitem__, reverse=True)[: 2 * count] for part in parts]
        return sorted(slot for part in ranked for slot in rng.sample(part, count))

    def _view(self, kind: str, rng: random.Random) -> tuple[Features, int]:
        if kind == "collage":
            return self.collages, rng.randrange(len(self.collages.views))
        which, row = rng.choice(self.unknown) if kind == "unknown" else self._single(rng)[0]
        return self.sets[which], row

    def _pairs(self, short: bool, rng: random.Random) -> Drawn:
        features, rows = [], []
        for _ in range(SHORT_PAIRS if short else PAIRS):
            (first, name), second = self._single(rng), self._single(rng)[0]
            if (luck := rng.random()) < 0.5:
                second = rng.choice(self.singles[name])
            elif luck < 0.75:
                second = rng.choice(self.singles[rng.choice(self.questioner.alike[name])])
            both = [(self.sets[which], row) for which, row in (first, second)]
            slots = [self._slots(one, row, short, rng) for one, row in both]
            shown = [one.gather([row])[0][some] for (one, row), some in zip(both, slots, strict=True)]
            features.append(torch.cat(shown))
            turns = self.questioner.about_pair(*(one.views[row] for one, row in both), rng)
            rows.append(self.layout.row(slots, TOKENS, rng.sample(turns, 2)))
        return Drawn(features, rows)

    def _single(self, rng: random.Random) -> tuple[tuple[int, int], str]:
        name = rng.choice(self.names)
        return rng.choice(self.singles[name]), name


def by_name(rows: Sequence[tuple[int, int, str]]) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {}
    for which, row, name in rows:
        found.setdefault(name, []).append((which, row))
    return found


def lookalikes(photos: list[Photo], plain: Features, count: int = 5) -> dict[str, list[str]]:
    """For every known name those whose training photos have the nearest mean token."""
    names, rows = known_names(photos), by_name(training_rows(photos, [plain]))
    means = [plain.gather([row for _, row in rows[name][:20]]).mean((0, 1)) for name in names]
    centered = F.normalize(torch.stack(means) - torch.stack(means).mean(0), dim=-1)
    order = (centered @ centered.T).fill_diagonal_(-1).argsort(dim=1, descending=True)  # (names, names)
    nearest = order[:, : min(count, len(names) - 1)].tolist()
    return {name: [names[i] for i in near] for name, near in zip(names, nearest, strict=True)}


class Answerer(nn.Module):
    """The projector and the language model; only the projector and LoRA are trained and kept."""

    def __init__(self, projector: InternVLMultiModalProjector, language_model: Any) -> None:
        super().__init__()
        lora = adapt(language_model).to(language_model.device)
        self.trained = nn.ModuleDict({"projector": projector, "lora": lora})
        self._language = [language_model]  # in a list: its weights are no part of the checkpoint

    def loss(self, drawn: Drawn) -> Tensor:
        """The mean cross-entropy of the tokens of all answers."""
        language = self._language[0]
        embed = language.get_input_embeddings()
        ids, wanted, positions, mask = (part.to(embed.weight.device) for part in stack(drawn.rows))
        embeds = embed(ids.clamp(min=0))
        visual = self.trained["projector"](torch.cat(drawn.features).to(ids.device))
        embeds = embeds.masked_scatter((ids == VISUAL)[..., None], visual)  # in reading order, row by row
        # Without a mask, transformers takes positions with gaps for several texts in one row.
        states = language.model(
            inputs_embeds=embeds, position_ids=positions, attention_mask=mask, use_cache=False
        )
        answers = wanted != IGNORED
        logits = F.linear(states.last_hidden_state[answers], embed.weight)
        return F.cross_entropy(logits, wanted[answers])


def answer(run: Run, share: float) -> None:
    """Train projector and LoRA, going on from the last checkpoint if there is one. `share` of all steps."""
    model, tokenizer = run.language
    projector = Aligner(model.config.hidden_size).projector
    made_of = {"names": known_names(run.photos), "unsure": UNSURE, "recipe": str(run.recipe)}
    if not run.recipe.goes_on:
        projector.load_state_dict(align(run, share))
    torch.manual_seed(run.seed)
    answerer, draw = Answerer(projector.to(model.device), model), Draw(run, Layout(tokenizer))
    if run.recipe.goes_on:
        before = BUILD / f"answer-{run.recipe.goes_on}-{run.seed}.pt"
        answerer.trained.load_state_dict(load(before, {"names": made_of["names"]})["trained"])
    groups = [
        {"params": list(answerer.trained["projector"].parameters()), "lr": PROJECTOR_RATE},
        {"params": list(answerer.trained["lora"].parameters()), "lr": LORA_RATE},
    ]
    stepper = torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = Schedule(run.file("answer"), answerer.trained, stepper, made_of)
    schedule.run(
        lambda step, _: answerer.loss(draw(random.Random(f"{run.seed} {step}"))),
        steps=math.ceil(share * run.recipe.steps),
    )
