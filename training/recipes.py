"""The recipes of stage 2 that are compared: what is shown, and when.

All begin with short prompts and only with the questions that are slow to learn: in long prompts, or
among easier questions, their gradient is too faint. Pairs and clips follow, then all questions.
"""

from __future__ import annotations

import numpy as np
import torch

from batches import (
    OBJECT,
    VISUAL,
    Batch,
    Pool,
    Recipe,
    alike,
    color_probe,
    gather,
    one_each,
    prompts,
    seed_of,
    times,
    weighted,
)
from steps import held_back, in_sequence, when
from wordsight.synthetic.clips import FRAMES
from wordsight.synthetic.questions import Question, ask_about_clip
from wordsight.synthetic.scenes import GRID, NOUNS, OBJECT_CLASSES, Scene

# Shares of the schedule: until when there are single pictures alone, until when all prompts are short, and
# from when on they are as at the end.
ALONE, SHORT, GROWN = 0.2, 0.5, 0.75
SEVERAL = 0.65, 0.35  # share of batches of more than one picture, after ALONE and after GROWN
PAIRS, CLIPS = 0.45, 0.5  # share of pairs among them, and of rendered clips among the rest
TRIPLES = 0.35  # share of pairs that are three
SLOW = 0.25  # share of the batches of single pictures that ask only what is slow to learn, after GROWN
COUNTS = 0.45  # share of those, after ALONE, that only count, which is learned last
EASY = 0.08  # share of all batches, after GROWN

# Of Whole: when pictures have grown to the usual size.
FULL = 0.6

# Of Pruned: tokens of a picture at the beginning, and the shares of batches of single pictures after GROWN
# that show all tokens and some of them; the rest shows windows.
FEW, WHOLE, SUBSETS = 12, 0.3, 0.45
NEVER, MOST_HELD_BACK = 1e-6, 72  # the weight of tokens that are held back, and most tokens of such a picture

# Of Silent: the share of batches that show background alone, and how many tokens of it.
BACKGROUND_ALONE = 0.15
FEW_TOKENS = (0, 1, 1, 1, 2, 4, 8, 16, 32)


def grown_by(done: float) -> float:
    """How far from short prompts to those of the end, in [0, 1]."""
    return min(1.0, max(0.0, (done - SHORT) / (GROWN - SHORT)))


def several_by(done: float) -> float:
    """The share of batches of more than one picture."""
    return SEVERAL[0] + grown_by(done) * (SEVERAL[1] - SEVERAL[0]) if done > ALONE else 0.0


class Pruned(Recipe):
    """Short prompts are some of the tokens of a picture, mostly of objects. Most batches to the end show
    subsets or windows, with questions about what those show: pruned prompts are learned like whole ones.
    """

    def draw(self, rng: np.random.Generator, done: float) -> Batch:
        grown, several, kind = grown_by(done), several_by(done), rng.random()
        if kind < PAIRS * several:
            count = 3 if rng.random() < TRIPLES else 2
            kept = _kept(rng, grown)
            chosen = alike(rng, self.pictures.scenes, prompts(count, kept, 70), count)
            return self.pairs(rng, self.pictures.scenes, chosen, kept)
        if kind < several:
            if rng.random() < CLIPS:
                length = int(rng.choice(list(self.pictures.clips_of)))
                return self.clips(rng, range(length), length, _kept(rng, grown))
            return self.appearing(rng, grown)
        if kind < several + EASY * grown:
            return self.easy(rng)
        if rng.random() < grown * (1 - SLOW):
            return self.some(rng)
        scenes = self.pictures.scenes
        if done > ALONE and rng.random() < COUNTS:
            return self.counts(rng, scenes, _log_uniform(rng, FEW, VISUAL))
        chosen = scenes.choice(rng, FEW, 150)
        cells = weighted(rng, times(scenes.owners[chosen], scenes.centers[chosen]), FEW)
        return self.slow(rng, scenes, chosen, cells)

    def some(self, rng: np.random.Generator) -> Batch:
        """Whole pictures, or some of their tokens, mostly of objects, or a window."""
        kind, scenes = rng.random(), self.pictures.scenes
        if kind > WHOLE + SUBSETS:
            return self.window(rng)
        kept = VISUAL if kind < WHOLE else _log_uniform(rng, 4, 80)
        chosen = scenes.choice(rng, kept, 150)
        odds = times(scenes.owners[chosen])
        cells = weighted(rng, odds if rng.random() < 0.6 else np.ones_like(odds), kept)
        return self.singles(rng, scenes, chosen, cells)

    def window(self, rng: np.random.Generator) -> Batch:
        """A square of the tokens of each picture."""
        side = int(rng.choice([1, 1, 2, 3, 3, 4, 6, 8]))
        chosen = self.pictures.scenes.choice(rng, side * side, 150)
        corners = rng.integers(0, GRID - side + 1, (len(chosen), 2))
        grid = np.arange(VISUAL).reshape(GRID, GRID)
        cells = np.stack([grid[y : y + side, x : x + side].flatten() for y, x in corners])
        return self.singles(rng, self.pictures.scenes, chosen, cells)

    def appearing(self, rng: np.random.Generator, grown: float) -> Batch:
        """Clips made of single scenes, as many as are wanted: some things are held back in some frames."""
        scenes, count = self.pictures.scenes, int(rng.integers(FRAMES[0], FRAMES[1] + 1))
        kept = _kept(rng, grown)
        chosen = rng.integers(len(scenes.facts), size=prompts(count, kept, 70))
        clips = [held_back(rng, scenes.facts[i], count) for i in chosen]
        owners = np.repeat(scenes.owners[chosen][:, None], count, 1)  # (B, I, 144)
        odds = times(owners, scenes.centers[chosen][:, None])
        odds[(owners < 0) & (scenes.labels[chosen][:, None] < 0)] = NEVER  # the edge of a thing
        for row, clip in enumerate(clips):
            for number, track in enumerate(clip.tracks):
                hidden = [t for t, box in enumerate(track.boxes) if not box]
                odds[row, hidden] = np.where(owners[row, hidden] == number, NEVER, odds[row, hidden])
        slots = weighted(rng, odds, min(kept, MOST_HELD_BACK))
        questions = []
        for clip in clips:
            nouns = [track.noun for track in clip.tracks]
            alone = frozenset(i for i, noun in enumerate(nouns) if nouns.count(noun) == 1)
            questions.append([*when(clip, alone), *ask_about_clip(clip, seed_of(rng), visible=alone)])
        features = gather(scenes.features, np.repeat(chosen[:, None], count, 1), slots)
        return Batch(features, torch.from_numpy(slots), questions, 80)


def _kept(rng: np.random.Generator, grown: float) -> int:
    """How many tokens each of several pictures shows."""
    return VISUAL if rng.random() < 0.25 * grown else _log_uniform(rng, FEW, FEW + 60 * grown)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> int:
    return int(np.exp(rng.uniform(np.log(low), np.log(high))))


class Whole(Recipe):
    """No prompt ever lacks tokens of its picture, and no picture is a window of a larger one's tokens: short
    prompts are small pictures (small.py), which grow step by step to the usual size, and films of few frames.
    """

    def draw(self, rng: np.random.Generator, done: float) -> Batch:
        grown, several, kind = grown_by(done), several_by(done), rng.random()
        pool = self.of_size(rng, done)
        if kind < PAIRS * several:
            count = 3 if rng.random() < TRIPLES else 2
            chosen = alike(rng, pool, prompts(count, pool.visual, 70), count)
            return self.pairs(rng, pool, chosen, pool.visual)
        if kind < several:
            return self.film(rng, grown) if rng.random() < CLIPS else self.sequences(rng, pool)
        if kind < several + EASY * grown:
            return self.easy(rng)
        chosen = pool.choice(rng, pool.visual, 150)
        cells = np.tile(np.arange(pool.visual), (len(chosen), 1))
        if rng.random() < grown * (1 - SLOW):
            return self.singles(rng, pool, chosen, cells)
        if done > ALONE and rng.random() < COUNTS:
            return self.counts(rng, self.pictures.scenes, VISUAL)
        return self.slow(rng, pool, chosen, cells)

    def of_size(self, rng: np.random.Generator, done: float) -> Pool:
        """Pictures of a size that grows with the schedule, some of them one step larger."""
        sizes = [*self.pictures.small, self.pictures.scenes]
        share = min(1.0, max(0.0, (done - ALONE / 2) / (FULL - ALONE / 2)))
        return sizes[int(share * (len(sizes) - 1) + rng.random() * (share < 1))]

    def film(self, rng: np.random.Generator, grown: float) -> Batch:
        """Rendered clips, or two or three of their frames."""
        length = int(rng.choice(list(self.pictures.clips_of)))
        read = length if rng.random() < grown else int(rng.integers(2, 4))
        frames = np.sort(rng.choice(length, read, replace=False)).tolist()
        return self.clips(rng, frames, length, VISUAL)

    def sequences(self, rng: np.random.Generator, pool: Pool) -> Batch:
        """Pictures one after another, asked when things come first."""
        count = int(rng.integers(3, FRAMES[0] + 1))
        chosen = rng.integers(len(pool.facts), size=(prompts(count, pool.visual, 70), count))
        asked = [in_sequence(rng, [pool.facts[i] for i in row]) for row in chosen.tolist()]
        slots = np.tile(np.arange(pool.visual), (*chosen.shape, 1))
        return Batch(gather(pool.features, chosen, slots), torch.from_numpy(slots), asked, 80)


class Warmed(Whole, Pruned):
    """As Whole, but for the first fifth of the schedule (ALONE), which is that of Pruned: some tokens of each
    picture. It is the least that is known to teach where things are, for when Whole does not.
    """

    def draw(self, rng: np.random.Generator, done: float) -> Batch:
        return (Pruned if done < ALONE else Whole).draw(self, rng, done)


class Silent(Whole):
    """Goes on from a model of Whole, as at its end, but the word of a background is never the answer to a
    probe. Tokens of background alone, the only part of a picture that this recipe ever shows, are asked for a
    thing that is elsewhere: the model learns how frequent words are, and that such tokens tell nothing. Plain
    questions about backgrounds stay.
    """

    def draw(self, rng: np.random.Generator, done: float) -> Batch:
        return self.background(rng) if rng.random() < BACKGROUND_ALONE else super().draw(rng, 1.0)

    def probes(self, rng: np.random.Generator, scene: Scene, visible: frozenset[int]) -> list[Question]:
        """What can be seen, or any thing where none can."""
        nouns = sorted({scene.things[i].noun for i in visible}) or NOUNS
        return [Question("probe", OBJECT, str(rng.choice(nouns))), *color_probe(scene, visible)]

    def background(self, rng: np.random.Generator) -> Batch:
        """Tokens of background alone, or none: they are to say what the question alone does."""
        scenes, kept = self.pictures.scenes, int(rng.choice(FEW_TOKENS))
        chosen = scenes.choice(rng, kept, 40)
        plain = (scenes.owners[chosen] < 0) & (scenes.labels[chosen] >= OBJECT_CLASSES)  # (B, 144)
        enough = plain.sum(1) >= kept
        cells = weighted(rng, np.where(plain[enough], 1.0, NEVER), kept)
        asked = [self.probes(rng, scenes.facts[i], frozenset()) for i in chosen[enough]]
        return one_each(scenes, chosen[enough], cells, asked, 40)


RECIPES = {"whole": Whole, "pruned": Pruned, "silent": Silent, "warmed": Warmed}
