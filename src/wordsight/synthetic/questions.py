"""Questions about a scene, with their answers: what the embedded model is trained and tested on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from wordsight.synthetic.clips import DIRECTIONS, Clip
from wordsight.synthetic.scenes import CATEGORIES, COLORS, NOUNS, SHAPES, Scene, Thing

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")
ORDINALS = ("first", "second", "third")
CORNERS = {"top left": (0, 0), "top right": (192, 0), "bottom left": (0, 192), "bottom right": (192, 192)}
# (axis, sign): "left of" means the smaller x.
RELATIONS = {"left of": (0, 1), "right of": (0, -1), "above": (1, 1), "below": (1, -1)}


class Question(NamedTuple):
    type: str
    text: str
    answer: str


def with_article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def ask(scene: Scene, seed: int, *, visible: frozenset[int] | None = None) -> list[Question]:
    """Questions whose answers are true of the scene, in a seeded random order.

    `visible` holds the indices of the things that can be seen, all of them if None: a picture of which only
    some tokens are shown gets no question about what is hidden.
    """
    rng = np.random.default_rng([seed, 7])
    visible_things = [thing for i, thing in enumerate(scene.things) if visible is None or i in visible]
    whole = len(visible_things) == len(scene.things)
    questions = [*_existence(rng, scene, visible_things), *_color(rng, visible_things)]
    if scene.backgrounds:
        text = _choose(rng, ("what is the background?", "what is in the background?"))
        questions.append(Question("background", text, " and ".join(scene.backgrounds)))
    alone = [
        thing for thing in visible_things if [other.noun for other in scene.things].count(thing.noun) == 1
    ]
    questions += [*_location(rng, alone), *_relation(rng, alone)]
    if whole and visible_things:
        questions += [*_counting(rng, visible_things), *_naming(rng, visible_things)]
        questions.append(Question("caption", "describe the image.", caption(scene)))
    return [questions[i] for i in rng.permutation(len(questions))]


def caption(scene: Scene) -> str:
    """One sentence that names every object and the background: "a cat, two dogs and a red star on grass"."""
    counts: dict[str, int] = {}
    for thing in sorted(scene.things, key=lambda thing: (thing.box[0], thing.box[1])):
        counts[thing.label] = counts.get(thing.label, 0) + 1
    parts = [with_article(label) if n == 1 else f"{NUMBERS[n]} {label}s" for label, n in counts.items()]
    listing = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"{listing} on {' and '.join(scene.backgrounds)}" if scene.backgrounds else listing


def _choose(rng: np.random.Generator, options: tuple[str, ...] | list[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _existence(rng: np.random.Generator, scene: Scene, visible_things: list[Thing]) -> Iterator[Question]:
    """As many yes as no; half of the no are hard: the same kind of thing, or the right shape in another
    color.
    """
    hidden = {thing.noun for thing in scene.things}
    present = sorted({thing.label if rng.random() < 0.5 else thing.noun for thing in visible_things})
    for phrase in rng.permutation(present)[:3]:
        yield Question("existence", _is_there(rng, str(phrase)), "yes")
        yield Question("existence", _is_there(rng, _absent(rng, str(phrase), hidden, scene)), "no")
    if not visible_things:
        yield Question("existence", _is_there(rng, _absent(rng, "cat", hidden, scene)), "no")


def _absent(rng: np.random.Generator, phrase: str, hidden: set[str], scene: Scene) -> str:
    color, _, noun = phrase.rpartition(" ")
    if color and rng.random() < 0.5:
        taken = {thing.color for thing in scene.things if thing.noun == noun}
        return f"{_choose(rng, [name for name in COLORS if name not in taken])} {noun}"
    kind = next(words for words in CATEGORIES.values() if noun in words)
    pool = kind if rng.random() < 0.5 else tuple(word for words in CATEGORIES.values() for word in words)
    absent = [word for word in pool if word not in hidden] or ["cat" if "cat" not in hidden else "key"]
    word = _choose(rng, absent)
    return f"{_choose(rng, list(COLORS))} {word}" if word in SHAPES and rng.random() < 0.5 else word


def _is_there(rng: np.random.Generator, phrase: str) -> str:
    a = with_article(phrase)
    wordings = (
        f"is there {a} in the image?",
        f"is there {a}?",
        f"does the image contain {a}?",
        f"is {a} present?",
    )
    return _choose(rng, wordings)


def _color(rng: np.random.Generator, visible_things: list[Thing]) -> Iterator[Question]:
    for shape in SHAPES:
        colors = {thing.color for thing in visible_things if thing.noun == shape}
        if len(colors) == 1:
            wordings = (f"what color is the {shape}?", f"what is the color of the {shape}?")
            yield Question("color", _choose(rng, wordings), str(colors.pop()))


def _counting(rng: np.random.Generator, visible_things: list[Thing]) -> Iterator[Question]:
    nouns = [thing.noun for thing in visible_things]
    several = sorted({noun for noun in nouns if nouns.count(noun) > 1})
    single = sorted({noun for noun in nouns if nouns.count(noun) == 1})
    for noun in several[:2] + ([_choose(rng, single)] if single and rng.random() < 0.25 else []):
        yield Question("counting", f"how many {noun}s are in the image?", NUMBERS[nouns.count(noun)])


def _naming(rng: np.random.Generator, visible_things: list[Thing]) -> Iterator[Question]:
    """What is in a corner or at an edge, where one thing is clearly the nearest."""
    clear: list[Question] = []
    for place, (x, y) in CORNERS.items():
        distances = [float(np.hypot(thing.center[0] - x, thing.center[1] - y)) for thing in visible_things]
        clear += _nearest(place, distances, visible_things, margin=20, limit=100)
    for place, (axis, sign) in {"left": (0, 1), "right": (0, -1), "top": (1, 1), "bottom": (1, -1)}.items():
        clear += _nearest(
            place,
            [sign * thing.center[axis] for thing in visible_things],
            visible_things,
            margin=18,
            limit=float("inf"),
        )
    for i in rng.permutation(len(clear))[:3]:
        yield clear[i]


def _nearest(
    place: str, distances: list[float], visible_things: list[Thing], *, margin: float, limit: float
) -> list[Question]:
    order = np.argsort(distances)
    if distances[order[0]] > limit or (len(order) > 1 and distances[order[1]] - distances[order[0]] < margin):
        return []
    return [Question("naming", f"what is at the {place} of the image?", visible_things[order[0]].noun)]


def _location(rng: np.random.Generator, alone: list[Thing]) -> Iterator[Question]:
    """In which of nine parts of the picture things that occur once are, if clearly in one."""
    for i in rng.permutation(len(alone))[:3]:
        part = [_third(center) for center in alone[i].center]
        if all(part):
            words = [word for word, third in zip(("left", "right"), (1, 3), strict=True) if part[0] == third]
            rows = [word for word, third in zip(("top", "bottom"), (1, 3), strict=True) if part[1] == third]
            yield Question("location", f"where is the {alone[i].noun}?", " ".join(rows + words) or "center")


def _third(place: float) -> int:
    """1, 2 or 3; 0 within eight pixels of a border between two."""
    if min(abs(place - 64), abs(place - 128)) < 8:
        return 0
    return 1 + int(place > 64) + int(place > 128)


def _relation(rng: np.random.Generator, alone: list[Thing]) -> Iterator[Question]:
    """Two things that occur once each, at least 24 pixels apart along the axis asked about; yes and no
    alike.
    """
    pairs = [(a, b) for a in alone for b in alone if a is not b]
    for i in rng.permutation(len(pairs))[:3]:
        a, b = pairs[i]
        relation = _choose(rng, list(RELATIONS))
        axis, sign = RELATIONS[relation]
        gap = sign * (b.center[axis] - a.center[axis])
        if abs(gap) >= 24:
            yield Question(
                "relation", f"is the {a.noun} {relation} the {b.noun}?", "yes" if gap > 0 else "no"
            )


def ask_about_pictures(
    scenes: Sequence[Scene], seed: int, *, visible: Sequence[frozenset[int]] | None = None
) -> list[Question]:
    """Questions about two or three pictures in one prompt: which of them shows a thing, and whether all
    do.
    """
    rng = np.random.default_rng([seed, 11])
    true = [{thing.noun for thing in scene.things} for scene in scenes]
    visible_things = [
        {thing.noun for j, thing in enumerate(scene.things) if visible is None or j in visible[i]}
        for i, scene in enumerate(scenes)
    ]
    number = {noun: sum(noun in nouns for nouns in true) for noun in NOUNS}
    questions = []
    for i, nouns in enumerate(visible_things):
        for noun in rng.permutation(sorted(noun for noun in nouns if number[noun] == 1))[:2]:
            questions.append(Question("which", f"which picture has the {noun}?", ORDINALS[i]))
    everywhere = sorted(set.intersection(*visible_things))
    some = sorted({noun for nouns in visible_things for noun in nouns if number[noun] < len(scenes)})
    wording = "is there {} in both pictures?" if len(scenes) == 2 else "is there {} in every picture?"
    for pool, answer in ((everywhere, "yes"), (some, "no")):
        if pool:
            noun = str(rng.choice(pool))
            questions.append(Question("same", wording.format(with_article(noun)), answer))
    return [questions[i] for i in rng.permutation(len(questions))]


def ask_about_clip(clip: Clip, seed: int, *, visible: frozenset[int] | None = None) -> list[Question]:
    """Questions about what happens in a clip: directions, what appears or vanishes, and in which order."""
    rng = np.random.default_rng([seed, 13])
    visible_things = [track for i, track in enumerate(clip.tracks) if visible is None or i in visible]
    came = [track for track in visible_things if track.act == "appear"]
    changed = came[:1] + [track for track in visible_things if track.act == "vanish"]
    questions = [
        Question("change", f"does the {track.noun} appear or vanish?", track.act) for track in changed
    ]
    for track in visible_things:
        if track.act in DIRECTIONS:
            text = _choose(rng, ("which way does the {} move?", "where does the {} move?"))
            questions.append(Question("direction", text.format(track.noun), track.act))
    for a, b in ((a, b) for a in came for b in came if a.first < b.first):
        first, second = (a, b) if rng.random() < 0.5 else (b, a)
        text = f"which appears first, the {first.noun} or the {second.noun}?"
        questions.append(Question("order", text, a.noun))
    return [questions[i] for i in rng.permutation(len(questions))]


def probe_answers(scene: Scene, visible: frozenset[int] | None = None) -> list[str]:
    """The words that a one-word description may say: the nouns that can be seen, else the backgrounds."""
    nouns = {thing.noun for i, thing in enumerate(scene.things) if visible is None or i in visible}
    return sorted(nouns) or list(scene.backgrounds)
