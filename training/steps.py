"""What only training asks and shows: steps towards what is slow to learn.

Whether both pictures show a thing follows from whether each does, and what came first from when each came.
The rendered clips alone are learned by heart: what came first was right for .90 of them and .65 of others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wordsight.synthetic.clips import Clip, Track
from wordsight.synthetic.questions import ORDINALS, Question, with_article
from wordsight.synthetic.scenes import Scene


def in_each(
    rng: np.random.Generator, scenes: Sequence[Scene], visible: Sequence[frozenset[int]]
) -> list[Question]:
    """Whether a thing that can be seen in one of the pictures is in each of them."""
    true = [{thing.noun for thing in scene.things} for scene in scenes]
    nouns = [{scene.things[i].noun for i in shown} for scene, shown in zip(scenes, visible, strict=True)]
    questions = []
    for noun in rng.permutation(sorted(set.union(*nouns)))[:2]:
        for i, ordinal in enumerate(ORDINALS[: len(scenes)]):
            if noun in nouns[i] or noun not in true[i]:
                text = f"is there {with_article(str(noun))} in the {ordinal} picture?"
                questions.append(Question("in each", text, "yes" if noun in nouns[i] else "no"))
    return questions


def when(clip: Clip, visible: frozenset[int]) -> list[Question]:
    """The picture of the clip, counted from 1 as in the prompt, in which each thing appears."""
    came = [clip.tracks[i] for i in sorted(visible) if clip.tracks[i].act == "appear"]
    return [
        Question("when", f"which is the first picture with the {track.noun}?", str(track.first + 1))
        for track in came
    ]


def held_back(rng: np.random.Generator, scene: Scene, frames: int) -> Clip:
    """A clip of a scene that stands still: two things appear, sometimes another vanishes, all others stay."""
    nouns = [thing.noun for thing in scene.things]
    alone = [i for i, noun in enumerate(nouns) if nouns.count(noun) == 1]
    acts = dict(zip(rng.permutation(alone).tolist(), ("appear", "appear", "vanish"), strict=False))
    tracks = []
    for i, thing in enumerate(scene.things):
        act, change = acts.get(i, "stay"), int(rng.integers(1, frames))
        hidden = {"appear": range(change), "vanish": range(change, frames)}.get(act, range(0))
        tracks.append(
            Track(thing.noun, act, tuple(None if t in hidden else thing.box for t in range(frames)))
        )
    return Clip((), tuple(tracks), np.zeros(0))
