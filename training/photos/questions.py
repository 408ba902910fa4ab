"""Questions whose answers are known from labels and pixels, for training and for the gates alike.

Answers begin with the name, without an article.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from names import ABSENT, NUMBERS, PLACES, PLURAL, UNSURE, with_article
from photos import Photo
from views import View
from wordsight.redundancy.probe import QUESTION

NAMING = (QUESTION, QUESTION, "What is this?", "What do you see?")
COLOR = "What color is it?"
PAIR = "Do both pictures show the same thing?"
HOW_MANY = "How many pictures are there?"
DESCRIBE = "Describe the image."
NOTHING = "nothing"


@dataclass(frozen=True)
class Question:
    """A question and its answer; `kind` is what a gate calls it."""

    kind: str
    text: str
    answer: str


@dataclass(frozen=True)
class Questioner:
    """Asks about views of photos. `alike` are, for every known name, the names that look most like it."""

    photos: Sequence[Photo]
    alike: dict[str, list[str]]

    def about(self, view: View, color: str | None, rng: random.Random) -> list[Question]:
        """Every kind of question about a view once, in random order."""
        if view.kind == "collage":
            return rng.sample(found := self._about_collage(view, rng), len(found))
        photo = self.photos[view.photos[0]]
        said = photo.name if photo.known else UNSURE
        found = [Question("names" if photo.known else "unknown", rng.choice(NAMING), said)]
        found.append(self.existence([photo.name] if photo.known else [], rng))
        if color is not None:
            found.append(Question("color", COLOR, color))
        return rng.sample(found, len(found))

    def existence(self, names: Sequence[str], rng: random.Random) -> Question:
        """Is there a thing: half of the time it is, else it is like one that is, another one, or never is."""
        if names and rng.random() < 0.5:
            return Question("existence", _is_there(rng.choice(names)), "yes")
        hard = [name for shown in names for name in self.alike[shown]]
        pool = rng.choice([hard, list(self.alike), ABSENT])
        others = [name for name in pool if name not in names] or ABSENT
        return Question("existence", _is_there(rng.choice(others)), "no")

    def about_pair(self, first: View, second: View, rng: random.Random) -> list[Question]:
        """Of two photos: whether they show the same, and what one of them shows."""
        names = [self.photos[view.photos[0]].name for view in (first, second)]
        which = rng.randrange(2)
        asked = f"What is in the {('first', 'second')[which]} picture?"
        return [
            Question("pairs", PAIR, "yes" if names[0] == names[1] else "no"),
            Question("which_picture", asked, names[which]),
        ]

    def _about_collage(self, view: View, rng: random.Random) -> list[Question]:
        shown = [None if number is None else self.photos[number].name for number in view.photos]
        counts = Counter(name for name in shown if name is not None)
        corner = rng.randrange(len(PLACES))
        found = [
            Question("which", f"What is at the {PLACES[corner]}?", shown[corner] or NOTHING),
            self.existence(list(counts), rng),
            self._how_many(counts, rng),
            Question("describe", DESCRIBE, _described(shown)),
        ]
        if single := sorted(name for name, count in counts.items() if count == 1):
            name = rng.choice(single)
            found.append(
                Question(
                    "where",
                    f"Where {'are' if name in PLURAL else 'is'} the {name}?",
                    PLACES[shown.index(name)],
                )
            )
        return found

    def _how_many(self, counts: Counter[str], rng: random.Random) -> Question:
        if rng.random() < 0.25:
            return Question("how_many", HOW_MANY, NUMBERS[counts.total()])
        absent = [name for name in self.alike if name not in counts]
        name = rng.choice([*sorted(counts), counts.most_common(1)[0][0], rng.choice(absent)])
        return Question("how_many", f"How many pictures show {with_article(name)}?", NUMBERS[counts[name]])


def _is_there(name: str) -> str:
    return f"{'Are' if name in PLURAL else 'Is'} there {with_article(name)} in the picture?"


def _described(shown: Sequence[str | None]) -> str:
    parts = [f"{name} at the {place}" for name, place in zip(shown, PLACES, strict=True) if name]
    return ", ".join(parts)
