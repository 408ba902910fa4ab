"""Batches of what stage 2 reads: pictures, pairs of pictures and clips, as tower features with questions.

A recipe (recipes.py) says which of them come when, and whether they show all of their tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import easy_vqa
import numpy as np
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from pictures import BUILD, cache_clips, cache_easy_vqa, cache_scenes, scene_facts
from schedule import digest
from small import SPANS, Squares, corners_of, cut, small_scene
from steps import in_each, thinned
from wordsight._utils.files import replacing
from wordsight.redundancy.probe import QUESTIONS
from wordsight.synthetic.questions import Question, ask, ask_about_clip, ask_about_pictures, probe_answers
from wordsight.synthetic.scenes import CLASSES, GRID, OBJECT_CLASSES, Array, Scene

OBJECT, COLOR, BACKGROUND = QUESTIONS
VISUAL = GRID * GRID
TOKENS = 5400  # in a batch, about
SLOW_TYPES = ("location", "relation", "naming", "counting", "color", "existence")
SLOW_SEVERAL = (
    0.5  # share of batches of several pictures that ask only what is slow to learn, with steps to it
)
ALIKE = 0.7  # share of prompts of several pictures that all show the same kind of thing
EASY_QUESTIONS = 6  # a picture


@dataclass(frozen=True)
class Batch:
    """B prompts of I pictures each: features (B, I, K, 192) of K tokens a picture, the cells (B, I, K) they
    come from, and the questions about each prompt, of which `limit` tokens are read.
    """

    features: Tensor
    slots: Tensor
    questions: list[list[Question]]
    limit: int


@dataclass(eq=False)
class Pool:
    """Pictures of K patches each and what is true of them: tower features (P, K, 192), labels and owners
    (P, K) and centers (P, K, 3) of patches as in pictures.py.
    """

    features: Tensor
    labels: Array
    owners: Array
    centers: Array
    facts: Sequence[Scene]

    @property
    def visual(self) -> int:
        """K, how many tokens a whole picture has."""
        return self.features.shape[1]

    @cached_property
    def showing(self) -> dict[str, list[int]]:
        """Which pictures show a thing of this kind."""
        found: dict[str, list[int]] = defaultdict(list)
        for number, fact in enumerate(self.facts):
            for noun in {thing.noun for thing in fact.things}:
                found[noun].append(number)
        return found

    @cached_property
    def repeating(self) -> list[int]:
        """Which pictures show several things of a kind."""
        nouns = [[thing.noun for thing in fact.things] for fact in self.facts]
        return [i for i, found in enumerate(nouns) if len(set(found)) < len(found)]

    def choice(self, rng: np.random.Generator, kept: int, text: int) -> Array:
        """As many pictures as fit into a batch if each shows `kept` tokens beside so many of text."""
        return rng.choice(len(self.facts), min(len(self.facts), TOKENS // (kept + text)), replace=False)


class Pictures:
    """Tower features of all training pictures, and what is true of each; small ones by their size."""

    def __init__(
        self, model: LlavaForConditionalGeneration, scenes: int, clips: int, *, small: bool = True
    ) -> None:
        images, *grids = cache_scenes(scenes)
        facts = scene_facts(scenes)
        easy_images, _ = cache_easy_vqa()
        self.clips, frames, frame_owners = cache_clips(clips)
        flat = [np.asarray(grid).reshape(scenes, VISUAL, *grid.shape[3:]) for grid in grids]
        self.scenes = Pool(cached_features(model, f"scenes_{scenes}", images), *flat, facts)
        self.small = []
        for span in SPANS if small else ():
            squares = Squares(cached_corners(facts, span), images, span)
            features = cached_features(model, f"squares_{span}_{scenes}", squares)
            self.small.append(small_pool(features, squares, [np.asarray(grid) for grid in grids], facts))
        self.easy_features = cached_features(model, "easy", easy_images)
        self.clip_features = cached_features(model, f"clips_{clips}", frames)
        self.frame_owners = np.asarray(frame_owners).reshape(-1, VISUAL)
        self.easy_questions: list[list[Question]] = [[] for _ in range(len(easy_images))]
        for text, answer, picture in zip(*easy_vqa.get_train_questions(), strict=True):
            self.easy_questions[picture].append(Question("easy", text, answer))
        self.index()

    def index(self) -> None:
        """Make the lists that clips are drawn from."""
        lengths = [len(clip.tracks[0].boxes) for clip in self.clips]
        self.clip_start = np.cumsum([0, *lengths[:-1]])
        self.clips_of: dict[int, list[int]] = defaultdict(list)
        for number, length in enumerate(lengths):
            self.clips_of[length].append(number)


def cached_corners(facts: Sequence[Scene], span: int) -> Array:
    """The corners of small pictures of these scenes, found once."""
    path = BUILD / f"corners_{span}_{len(facts)}.npy"
    if not path.exists():
        with replacing(path) as draft, draft.open("wb") as file:
            np.save(file, corners_of(facts, span))
    corners: Array = np.load(path)
    return corners


def small_pool(features: Tensor, squares: Squares, grids: Sequence[Array], facts: Sequence[Scene]) -> Pool:
    """Small pictures, cut out of scenes whose labels, owners and centers these grids are."""
    labels, owners, centers = (cut(grid, squares.corners, squares.span) for grid in grids)
    made = []
    for row, (number, y, x) in enumerate(squares.corners.tolist()):
        scene, owners[row] = small_scene(facts[number], (y, x), labels[row], owners[row])
        made.append(scene)
    return Pool(features, labels, owners, centers, made)


class Recipe:
    """Draws batches from pictures; a recipe of its own says when which are drawn, by the share of the
    schedule that is done. `kept` is how many tokens of each picture are shown, most of them of objects.
    """

    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures

    def draw(self, rng: np.random.Generator, done: float) -> Batch:
        """A batch for when this share of the schedule is done."""
        raise NotImplementedError

    def probes(self, rng: np.random.Generator, scene: Scene, visible: frozenset[int]) -> list[Question]:
        """What the library's probes ask, of what can be seen: a picture without things is its background."""
        answers = probe_answers(scene, visible)
        if scene.backgrounds and rng.random() < 0.05:
            answers = list(scene.backgrounds)
        found = [Question("probe", OBJECT, str(rng.choice(answers)))] if answers else []
        found += color_probe(scene, visible)
        named = " and ".join(scene.backgrounds)
        return [*found, Question("probe", BACKGROUND, named)] if named else found

    def slow(self, rng: np.random.Generator, pool: Pool, chosen: Array, cells: Array) -> Batch:
        """Single pictures, asked only what is slow to learn."""
        asked = [
            [q for q in self.questions(rng, pool, i, kept) if q.type in SLOW_TYPES]
            for i, kept in zip(chosen.tolist(), cells, strict=True)
        ]
        return one_each(pool, chosen, cells, asked, 130)

    def counts(self, rng: np.random.Generator, pool: Pool, kept: int) -> Batch:
        """Single pictures with several things of a kind, each with its middle, asked only how many."""
        count = min(len(pool.repeating), TOKENS // (kept + 40))
        chosen = rng.choice(pool.repeating, count, replace=False)
        cells = weighted(rng, times(pool.owners[chosen], pool.centers[chosen]), kept)
        asked = [ask(pool.facts[i], seed_of(rng)) for i in chosen.tolist()]
        return one_each(pool, chosen, cells, [[q for q in row if q.type == "counting"] for row in asked], 40)

    def singles(self, rng: np.random.Generator, pool: Pool, chosen: Array, cells: Array) -> Batch:
        """Single pictures, asked everything."""
        asked = [self.questions(rng, pool, i, kept) for i, kept in zip(chosen.tolist(), cells, strict=True)]
        return one_each(pool, chosen, cells, asked, 300)

    def questions(self, rng: np.random.Generator, pool: Pool, number: int, slots: Array) -> list[Question]:
        """Questions about what the tokens in `slots` show of picture `number`, the probes first."""
        visible = owners_of(pool.owners[number, slots])
        shown = {CLASSES[i] for i in np.unique(pool.labels[number, slots]) if i >= OBJECT_CLASSES}
        fact = pool.facts[number]
        scene = replace(fact, backgrounds=tuple(name for name in fact.backgrounds if name in shown))
        asked = ask(scene, seed_of(rng), visible=visible)
        # What is slow to learn is asked twice as often.
        again = [q for q in ask(scene, seed_of(rng), visible=visible) if q.type in ("location", "relation")]
        asked += [q for q in again if q not in asked]
        asked = [q for q in asked if q.type != "caption" or rng.random() < 0.5]
        return [*self.probes(rng, scene, visible), *asked]

    def easy(self, rng: np.random.Generator) -> Batch:
        """Whole pictures of easy-VQA."""
        slots = np.tile(np.arange(VISUAL), (18, 1, 1))
        chosen = rng.choice(len(self.pictures.easy_questions), len(slots), replace=False)
        asked = [self.pictures.easy_questions[i] for i in chosen.tolist()]
        questions = [[row[i] for i in rng.permutation(len(row))[:EASY_QUESTIONS]] for row in asked]
        features = gather(self.pictures.easy_features, chosen[:, None], slots)
        return Batch(features, torch.from_numpy(slots), questions, 120)

    def pairs(self, rng: np.random.Generator, pool: Pool, chosen: Array, kept: int) -> Batch:
        """Pictures (B, I), two or three a prompt."""
        slots = weighted(rng, times(pool.owners[chosen]), kept)
        slow = rng.random() < SLOW_SEVERAL
        questions = []
        for numbers, row in zip(chosen.tolist(), slots, strict=True):
            scenes = [pool.facts[i] for i in numbers]
            visible = [owners_of(pool.owners[i, cells]) for i, cells in zip(numbers, row, strict=True)]
            asked = ask_about_pictures(scenes, seed_of(rng), visible=visible)
            steps = in_each(rng, scenes, visible) if slow else []
            questions.append(steps + [q for q in asked if not slow or q.type == "same"])
        return Batch(gather(pool.features, chosen, slots), torch.from_numpy(slots), questions, 120)

    def clips(self, rng: np.random.Generator, frames: Sequence[int], length: int, kept: int) -> Batch:
        """These frames, counted from 0, of rendered clips of this length."""
        numbers = rng.choice(self.pictures.clips_of[length], prompts(len(frames), kept, 35))
        rows = self.pictures.clip_start[numbers][:, None] + np.array(frames)  # (B, I)
        slots = weighted(rng, times(self.pictures.frame_owners[rows]), kept)
        questions = []
        for number, row, cells in zip(numbers.tolist(), rows, slots, strict=True):
            clip = thinned(self.pictures.clips[number], frames)
            shown = np.take_along_axis(self.pictures.frame_owners[row], cells, 1)
            visible = frozenset(
                i
                for i, track in enumerate(clip.tracks)
                if any(track.boxes) and all((shown[t] == i).any() for t, box in enumerate(track.boxes) if box)
            )
            questions.append(ask_about_clip(clip, seed_of(rng), visible=visible))
        features = gather(self.pictures.clip_features, rows, slots)
        return Batch(features, torch.from_numpy(slots), questions, 80)


def color_probe(scene: Scene, visible: frozenset[int]) -> list[Question]:
    """The probe for a color, where one alone can be seen."""
    colors = {scene.things[i].color for i in visible} - {None}
    return [Question("probe", COLOR, str(color)) for color in colors if len(colors) == 1]


def one_each(pool: Pool, chosen: Array, cells: Array, questions: list[list[Question]], limit: int) -> Batch:
    """Prompts of one picture each, chosen (B,), of which the tokens at cells (B, K) are shown."""
    slots = cells[:, None]
    return Batch(gather(pool.features, chosen[:, None], slots), torch.from_numpy(slots), questions, limit)


def alike(rng: np.random.Generator, pool: Pool, prompts: int, count: int) -> Array:
    """(B, I) pictures, of which in most prompts all show the same kind of thing."""
    chosen = rng.integers(len(pool.facts), size=(prompts, count))
    for row in np.flatnonzero(rng.random(prompts) < ALIKE):
        if things := pool.facts[chosen[row, 0]].things:
            noun = things[int(rng.integers(len(things)))].noun
            chosen[row, 1:] = rng.choice(pool.showing[noun], count - 1)
    return chosen


def prompts(pictures: int, kept: int, text: int) -> int:
    """How many prompts make a batch."""
    return max(4, TOKENS // (pictures * (kept + 2) + text))


def seed_of(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 30))


def owners_of(owners: Array) -> frozenset[int]:
    return frozenset(int(i) for i in np.unique(owners) if i >= 0)


def times(owners: Array, centers: Array | None = None) -> Array:
    """How much likelier than others tokens are drawn: those of objects, and most of all those in the middle
    of one, where `centers` (..., K, 3) tell them: a center is shared by at most four patches.
    """
    found = np.where(owners >= 0, 6.0, 1.0)
    return found if centers is None else found + 1000 * (centers[..., 2] > 0.24)


def weighted(rng: np.random.Generator, times: Array, kept: int) -> Array:
    """(..., kept) cells in order, drawn without replacement, each `times` (..., K) as likely as others."""
    keys = rng.random(times.shape) ** (1 / times)
    return np.sort(np.argpartition(-keys, kept - 1, axis=-1)[..., :kept], -1)


def gather(features: Tensor, numbers: Array, slots: Array) -> Tensor:
    """(B, I, K, 192) the features of pictures (B, I) at cells (B, I, K)."""
    return features[torch.from_numpy(numbers)[..., None], torch.from_numpy(slots)].float()


@torch.no_grad()
def cached_features(model: LlavaForConditionalGeneration, name: str, images: Array | Squares) -> Tensor:
    """(P, K, 192) half-precision tower features of the pictures, computed once for every tower."""
    path = BUILD / f"features_{digest(model.model.vision_tower)}_{name}.pt"
    if not path.exists():
        parts = []
        for start in range(0, len(images), 100):
            pixels = torch.from_numpy(np.ascontiguousarray(images[start : start + 100].transpose(0, 3, 1, 2)))
            parts.append(tower_features(model, pixels.to(model.device) / 127.5 - 1).half().cpu())
        with replacing(path) as draft:
            torch.save(torch.cat(parts), draft)
    cached: Tensor = torch.load(path, weights_only=True, mmap=True)  # runs at once share the memory
    return cached


def tower_features(model: LlavaForConditionalGeneration, pixels: Tensor) -> Tensor:
    """What the projector reads of pictures (B, 3, H, W): the features of their patches, (B, K, 192)."""
    tower = model.model.vision_tower
    layers = tower(pixels, output_hidden_states=True, interpolate_pos_encoding=True).hidden_states
    patches: Tensor = layers[model.config.vision_feature_layer][:, 1:]
    return patches
