"""What stage 2 reads: batches of pictures, pairs of pictures and clips, as tower features with questions.

It begins with a few tokens of each picture and only with the questions that are slow to learn: in long
prompts, or among easier questions, their gradient is too faint, and what is where stays unknown for thousands
of steps. Pairs and clips follow, then longer prompts and all questions. Most batches still show only some
of the tokens of a picture, with questions about what those show: pruned prompts are read as well as whole
ones.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import easy_vqa
import numpy as np
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from fit import digest
from packing import VISUAL
from pictures import BUILD, cache_clips, cache_easy_vqa, cache_scenes, scene_facts
from steps import held_back, in_each, when
from wordsight._utils.files import replacing
from wordsight.redundancy.probe import QUESTIONS
from wordsight.synthetic.clips import FRAMES
from wordsight.synthetic.questions import Question, ask, ask_about_clip, ask_about_pictures, probe_answers
from wordsight.synthetic.scenes import CLASSES, GRID, OBJECT_CLASSES, Array

OBJECT, COLOR, BACKGROUND = QUESTIONS
TOKENS = 5400  # in a batch, about
FEW = 12  # tokens of a picture at the beginning
# Shares of the schedule: until when there are single pictures alone, until when all show FEW tokens, and from
# when on they are of all lengths.
ALONE, SHORT, GROWN = 0.2, 0.5, 0.75
SEVERAL = 0.65, 0.35  # share of batches of more than one picture, after ALONE and after GROWN
SLOW_SEVERAL = 0.5  # share of them that ask only what is slow to learn, with the steps to it
SLOW = 0.25  # share of the batches of single pictures that ask only what is slow to learn, after GROWN
SLOW_TYPES = ("location", "relation", "naming", "counting", "color", "existence")
COUNTS = 0.45  # share of those, after ALONE, that only count, which is learned last
WHOLE = 0.3  # share of the others that show all tokens
NEVER, MOST_HELD_BACK = 1e-6, 72  # the weight of tokens that are held back, and most tokens of such a picture
EASY, EASY_QUESTIONS = 0.08, 6  # share of all batches, and questions a picture


@dataclass(frozen=True)
class Batch:
    """B prompts of I pictures each: features (B, I, K, 192) of K tokens a picture, the cells (B, I, K) they
    come from, and the questions about each prompt, of which `limit` tokens are read.
    """

    features: Tensor
    slots: Tensor
    questions: list[list[Question]]
    limit: int


class Pictures:
    """Tower features of all training pictures, and what is true of each."""

    def __init__(self, model: LlavaForConditionalGeneration, scenes: int, clips: int) -> None:
        images, labels, owners, centers = cache_scenes(scenes)
        easy_images, _ = cache_easy_vqa()
        self.clips, frames, frame_owners = cache_clips(clips)
        self.features = cached_features(model, f"scenes_{scenes}", images)
        self.easy_features = cached_features(model, "easy", easy_images)
        self.clip_features = cached_features(model, f"clips_{clips}", frames)
        self.labels, self.owners, self.frame_owners = (
            np.asarray(array).reshape(-1, VISUAL) for array in (labels, owners, frame_owners)
        )
        self.centers = np.asarray(centers).reshape(-1, VISUAL, 3)
        self.facts = scene_facts(scenes)
        self.easy_questions: list[list[Question]] = [[] for _ in range(len(easy_images))]
        for text, answer, picture in zip(*easy_vqa.get_train_questions(), strict=True):
            self.easy_questions[picture].append(Question("easy", text, answer))
        self.index()

    def index(self) -> None:
        """Make the lists that batches are drawn from."""
        self.showing: dict[str, list[int]] = defaultdict(list)
        for number, fact in enumerate(self.facts):
            for noun in {thing.noun for thing in fact.things}:
                self.showing[noun].append(number)
        nouns = [[thing.noun for thing in fact.things] for fact in self.facts]
        self.repeating = [i for i, found in enumerate(nouns) if len(set(found)) < len(found)]
        lengths = [len(clip.tracks[0].boxes) for clip in self.clips]
        self.clip_start = np.cumsum([0, *lengths[:-1]])
        self.clips_of: dict[int, list[int]] = defaultdict(list)
        for number, length in enumerate(lengths):
            self.clips_of[length].append(number)

    def draw(self, rng: np.random.Generator, done: float) -> Batch:
        """A batch for when this share of the schedule is done."""
        grown = min(1.0, max(0.0, (done - SHORT) / (GROWN - SHORT)))
        several = SEVERAL[0] + grown * (SEVERAL[1] - SEVERAL[0]) if done > ALONE else 0.0
        kind = rng.random()
        if kind < 0.45 * several:
            return self._pairs(rng, grown)
        if kind < several:
            appearing = rng.random() < SLOW_SEVERAL
            return self._appearing(rng, grown) if appearing else self._clips(rng, grown)
        if kind < several + EASY * grown:
            return self._easy(rng)
        if rng.random() < grown * (1 - SLOW):
            return self._singles(rng)
        return self._counts(rng) if done > ALONE and rng.random() < COUNTS else self._slow(rng)

    def _slow(self, rng: np.random.Generator) -> Batch:
        """A few tokens of single pictures, the middle of every object among them."""
        chosen = self._choice(rng, FEW)
        cells = _weighted(rng, _times(self.owners[chosen], self.centers[chosen]), FEW)
        asked = [self._questions(rng, i, kept) for i, kept in zip(chosen.tolist(), cells, strict=True)]
        return self._batch(chosen, cells, [[q for q in row if q.type in SLOW_TYPES] for row in asked], 130)

    def _counts(self, rng: np.random.Generator) -> Batch:
        """Single pictures with several things of a kind, asked only how many."""
        kept = _log_uniform(rng, FEW, VISUAL)
        chosen = rng.choice(self.repeating, TOKENS // (kept + 40), replace=False)
        cells = _weighted(rng, _times(self.owners[chosen], self.centers[chosen]), kept)
        asked = [ask(self.facts[i], _seed(rng)) for i in chosen.tolist()]
        return self._batch(chosen, cells, [[q for q in row if q.type == "counting"] for row in asked], 40)

    def _singles(self, rng: np.random.Generator) -> Batch:
        """Whole pictures, or some of their tokens, mostly of objects, or a window."""
        kind = rng.random()
        if kind < WHOLE:
            chosen = self._choice(rng, VISUAL)
            cells = np.tile(np.arange(VISUAL), (len(chosen), 1))
        elif kind < 0.75:
            kept = _log_uniform(rng, 4, 80)
            chosen = self._choice(rng, kept)
            times = _times(self.owners[chosen])
            cells = _weighted(rng, times if rng.random() < 0.6 else np.ones_like(times), kept)
        else:
            side = int(rng.choice([1, 1, 2, 3, 3, 4, 6, 8]))
            chosen = self._choice(rng, side * side)
            corners = rng.integers(0, GRID - side + 1, (len(chosen), 2))
            grid = np.arange(VISUAL).reshape(GRID, GRID)
            cells = np.stack([grid[y : y + side, x : x + side].flatten() for y, x in corners])
        asked = [self._questions(rng, i, kept) for i, kept in zip(chosen.tolist(), cells, strict=True)]
        return self._batch(chosen, cells, asked, 300)

    def _batch(self, chosen: Array, cells: Array, questions: list[list[Question]], limit: int) -> Batch:
        """Prompts of one scene each, chosen (B,), of which the tokens at cells (B, K) are shown."""
        slots = cells[:, None]
        return Batch(
            _gather(self.features, chosen[:, None], slots), torch.from_numpy(slots), questions, limit
        )

    def _choice(self, rng: np.random.Generator, kept: int) -> Array:
        """As many pictures as fit into a batch if each shows `kept` tokens."""
        return rng.choice(len(self.facts), TOKENS // (kept + 150), replace=False)

    def _questions(self, rng: np.random.Generator, number: int, slots: Array) -> list[Question]:
        """Questions about what the tokens in `slots` show of scene `number`, the probes first."""
        visible = _owners(self.owners[number, slots])
        shown = {CLASSES[i] for i in np.unique(self.labels[number, slots]) if i >= OBJECT_CLASSES}
        fact = self.facts[number]
        scene = replace(fact, backgrounds=tuple(name for name in fact.backgrounds if name in shown))
        answers = probe_answers(scene, visible)
        if scene.backgrounds and rng.random() < 0.05:
            answers = list(scene.backgrounds)
        probe = [Question("probe", OBJECT, str(rng.choice(answers)))] if answers else []
        colors = {fact.things[i].color for i in visible} - {None}
        probe += [Question("probe", COLOR, str(color)) for color in colors if len(colors) == 1]
        probe += [Question("probe", BACKGROUND, " and ".join(scene.backgrounds))] if scene.backgrounds else []
        asked = ask(scene, _seed(rng), visible=visible)
        # What is slow to learn is asked twice as often.
        again = [q for q in ask(scene, _seed(rng), visible=visible) if q.type in ("location", "relation")]
        asked += [q for q in again if q not in asked]
        return [*probe, *(q for q in asked if q.type != "caption" or rng.random() < 0.5)]

    def _easy(self, rng: np.random.Generator) -> Batch:
        slots = np.broadcast_to(np.arange(VISUAL), (18, 1, VISUAL))
        chosen = rng.choice(len(self.easy_questions), len(slots), replace=False)
        asked = [self.easy_questions[i] for i in chosen.tolist()]
        questions = [[row[i] for i in rng.permutation(len(row))[:EASY_QUESTIONS]] for row in asked]
        features = _gather(self.easy_features, chosen[:, None], slots)
        return Batch(features, torch.from_numpy(slots.copy()), questions, 120)

    def _pairs(self, rng: np.random.Generator, grown: float) -> Batch:
        """Two or three pictures a prompt; in most prompts all show the same kind of thing."""
        count = 2 if rng.random() < 0.65 else 3
        kept, rows = _size(rng, count, grown, text=70)
        chosen = rng.integers(len(self.facts), size=(rows, count))
        for row in np.flatnonzero(rng.random(rows) < 0.7):
            if things := self.facts[chosen[row, 0]].things:
                noun = things[int(rng.integers(len(things)))].noun
                chosen[row, 1:] = rng.choice(self.showing[noun], count - 1)
        slots = _weighted(rng, _times(self.owners[chosen]), kept)
        slow = rng.random() < SLOW_SEVERAL
        questions = []
        for numbers, row in zip(chosen.tolist(), slots, strict=True):
            scenes = [self.facts[i] for i in numbers]
            visible = [_owners(self.owners[i, cells]) for i, cells in zip(numbers, row, strict=True)]
            asked = ask_about_pictures(scenes, _seed(rng), visible=visible)
            steps = in_each(rng, scenes, visible) if slow else []
            questions.append(steps + [q for q in asked if not slow or q.type == "same"])
        return Batch(_gather(self.features, chosen, slots), torch.from_numpy(slots), questions, 120)

    def _clips(self, rng: np.random.Generator, grown: float) -> Batch:
        count = int(rng.choice(list(self.clips_of)))
        kept, rows = _size(rng, count, grown, text=35)
        numbers = rng.choice(self.clips_of[count], rows)
        frames = self.clip_start[numbers][:, None] + np.arange(count)  # (B, I)
        slots = _weighted(rng, _times(self.frame_owners[frames]), kept)
        questions = []
        for number, row, cells in zip(numbers.tolist(), frames, slots, strict=True):
            clip = self.clips[number]
            shown = np.take_along_axis(self.frame_owners[row], cells, 1)
            visible = frozenset(
                i
                for i, track in enumerate(clip.tracks)
                if all((shown[t] == i).any() for t, box in enumerate(track.boxes) if box)
            )
            questions.append(ask_about_clip(clip, _seed(rng), visible=visible))
        return Batch(_gather(self.clip_features, frames, slots), torch.from_numpy(slots), questions, 80)

    def _appearing(self, rng: np.random.Generator, grown: float) -> Batch:
        """Clips made of single scenes, as many as are wanted: some things are held back in some frames."""
        count = int(rng.integers(FRAMES[0], FRAMES[1] + 1))
        kept, rows = _size(rng, count, grown, text=70)
        chosen = rng.integers(len(self.facts), size=rows)
        clips = [held_back(rng, self.facts[i], count) for i in chosen]
        owners = np.repeat(self.owners[chosen][:, None], count, 1)  # (B, I, 144)
        times = _times(owners, self.centers[chosen][:, None])
        times[(owners < 0) & (self.labels[chosen][:, None] < 0)] = NEVER  # the edge of a thing
        for row, clip in enumerate(clips):
            for number, track in enumerate(clip.tracks):
                hidden = [t for t, box in enumerate(track.boxes) if not box]
                times[row, hidden] = np.where(owners[row, hidden] == number, NEVER, times[row, hidden])
        slots = _weighted(rng, times, min(kept, MOST_HELD_BACK))
        questions = []
        for clip in clips:
            nouns = [track.noun for track in clip.tracks]
            alone = frozenset(i for i, noun in enumerate(nouns) if nouns.count(noun) == 1)
            questions.append([*when(clip, alone), *ask_about_clip(clip, _seed(rng), visible=alone)])
        features = _gather(self.features, np.repeat(chosen[:, None], count, 1), slots)
        return Batch(features, torch.from_numpy(slots), questions, 80)


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 30))


def _owners(owners: Array) -> frozenset[int]:
    return frozenset(int(i) for i in np.unique(owners) if i >= 0)


def _size(rng: np.random.Generator, pictures: int, grown: float, text: int) -> tuple[int, int]:
    """How many tokens each of several pictures shows, and how many prompts make a batch."""
    kept = VISUAL if rng.random() < 0.25 * grown else _log_uniform(rng, FEW, FEW + 60 * grown)
    return kept, max(4, TOKENS // (pictures * (kept + 2) + text))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> int:
    return int(np.exp(rng.uniform(np.log(low), np.log(high))))


def _times(owners: Array, centers: Array | None = None) -> Array:
    """How much likelier than others tokens are drawn: those of objects, and most of all those in the middle
    of one, where `centers` (..., 144, 3) tell them: a center is shared by at most four patches.
    """
    times = np.where(owners >= 0, 6.0, 1.0)
    return times if centers is None else times + 1000 * (centers[..., 2] > 0.24)


def _weighted(rng: np.random.Generator, times: Array, kept: int) -> Array:
    """(..., kept) cells in order, drawn without replacement, each `times` (..., 144) as likely as others."""
    keys = rng.random(times.shape) ** (1 / times)
    return np.sort(np.argpartition(-keys, kept - 1, axis=-1)[..., :kept], -1)


def _gather(features: Tensor, numbers: Array, slots: Array) -> Tensor:
    """(B, I, K, 192) the features of pictures (B, I) at cells (B, I, K)."""
    return features[torch.from_numpy(numbers)[..., None], torch.from_numpy(slots.copy())].float()


@torch.no_grad()
def cached_features(model: LlavaForConditionalGeneration, name: str, images: Array) -> Tensor:
    """(P, 144, 192) half-precision tower features of the pictures, computed once for every tower."""
    path = BUILD / f"features_{digest(model.model.vision_tower)}_{name}.pt"
    if not path.exists():
        parts = []
        for start in range(0, len(images), 100):
            pixels = torch.from_numpy(np.ascontiguousarray(images[start : start + 100].transpose(0, 3, 1, 2)))
            parts.append(tower_features(model, pixels / 127.5 - 1).half())
        with replacing(path) as draft:
            torch.save(torch.cat(parts), draft)
    cached: Tensor = torch.load(path, weights_only=True)
    return cached


def tower_features(model: LlavaForConditionalGeneration, pixels: Tensor) -> Tensor:
    """What the projector reads of pictures (B, 3, 192, 192): the features of their patches, (B, 144, 192)."""
    layers = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
    patches: Tensor = layers[model.config.vision_feature_layer][:, 1:]
    return patches
