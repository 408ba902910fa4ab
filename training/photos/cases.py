"""What the gates ask: fixed questions about pictures of one split."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from features import Features
from names import name_of
from photos import ENDINGS, Photo
from questions import Question, Questioner
from views import View, render
from wordsight.redundancy.probe import QUESTION


@dataclass(frozen=True)
class Case:
    """Pictures and what is asked about them, each question on its own."""

    name: str
    images: list[Image.Image]
    questions: list[Question]
    photo: Photo | None = None


def cases(
    photos: Sequence[Photo], features: dict[str, Features], questioner: Questioner, split: str, most: int
) -> Iterator[Case]:
    """Photos, unknown ones among them, then collages, then pairs; at most so many of each."""
    plain, rng = features["photos"], random.Random(f"cases {split}")
    chosen = [row for row, view in enumerate(plain.views) if view.split == split]
    known = [row for row in chosen if photos[row].known]
    unknown = [row for row in chosen if photos[row].name and not photos[row].known]
    for row in [*known[:most], *unknown[:most]]:
        asked = questioner.about(plain.views[row], plain.colors[row], rng)
        naming = Question("names" if photos[row].known else "unknown", QUESTION, asked_name(photos[row]))
        asked = [naming, *(one for one in asked if one.kind not in ("names", "unknown"))]
        yield Case(f"photo {row}", [render(plain.views[row], photos)], asked, photos[row])
    collages = features[f"collages-{split}"].views[:most]
    for number, view in enumerate(collages):
        yield Case(f"collage {number}", [render(view, photos)], questioner.about(view, None, rng))
    for number in range(min(most, len(known))):
        yield _pair(number, [plain.views[row] for row in known], photos, questioner, rng)


def asked_name(photo: Photo) -> str:
    """What there is to say about a photo: its name, if training names it."""
    return photo.name if photo.known and photo.name else ""


def _pair(
    number: int, views: Sequence[View], photos: Sequence[Photo], questioner: Questioner, rng: random.Random
) -> Case:
    """Every other pair shows the same, and of those that do not half show what looks alike."""
    names = [photos[view.photos[0]].name for view in views]
    first = rng.randrange(len(views))
    wanted = {names[first]}
    if number % 2:
        others = set(names) - wanted
        wanted = (set(questioner.alike[names[first]]) & others if number % 4 == 1 else others) or others
    pool = [i for i, name in enumerate(names) if name in wanted and i != first]
    both = [views[first], views[rng.choice(pool or [first])]]
    images = [render(view, photos) for view in both]
    return Case(f"pair {number}", images, questioner.about_pair(*both, rng))


def unseen_cases(folder: Path, known: Sequence[str]) -> Iterator[Case]:
    """Photos of another source, in class folders; only those of names that training knows."""
    for file in sorted(folder.glob("*/*")):
        name = name_of(file.parent.name)
        if file.suffix.lower() in ENDINGS and name in known:
            with Image.open(file) as image:
                picture = image.convert("RGB")
            yield Case(f"unseen {file.name}", [picture], [Question("unseen_names", QUESTION, name)])
