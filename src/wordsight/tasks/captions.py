"""Captions: one description a scene, which scores by what it names, between 0 and 1.

The score is the F1 of the things and backgrounds that the description names against those of the scene. Every
thing counts, two dogs as two; a shape is right in its color alone. CHAIR, "Object Hallucination in Image
Captioning" (https://arxiv.org/abs/1809.02156), counts what is named and not there, over what is named: that
is 1 - the precision of this score, but that CHAIR looks neither at numbers nor at colors. Places, grammar and
words that no scene has count neither way, and there are no synonyms.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Interval

from wordsight.synthetic.questions import NUMBERS, ask
from wordsight.synthetic.scenes import COLORS, NOUNS, SHAPES, TEXTURES, render
from wordsight.tasks.base import Example
from wordsight.tasks.rendered import RenderedTask

# What each word names: "foxs" is how the reference captions have it, "foxes" how the others do.
NAMES = {
    form: name
    for name in (*NOUNS, *TEXTURES)
    for form in (name, f"{name}s", f"{name}es", f"{name[:-1]}ies" if name[-1] == "y" else name)
}
AMOUNTS = {
    **{word: number for number, word in enumerate((*NUMBERS, "seven", "eight", "nine", "ten"))},
    **{str(number): number for number in range(100)},
    **dict.fromkeys(("a", "an", "another"), 1),
    "no": 0,
}


@dataclass(kw_only=True)
class Captions(RenderedTask):
    """pictures: how many scenes of the split to have described, one question each. Type: caption."""

    max_new_tokens: ClassVar[int] = 64  # the longest caption takes half of them, in word pieces
    pictures: Annotated[int, Interval(ge=1, le=100_000)] = 200

    def examples(self) -> Iterator[Example]:
        for number in range(self.pictures):
            seed = self.first_seed + number
            scene = render(seed)
            for question in ask(scene, seed):
                if question.type == "caption":
                    yield Example(scene.image, str(number), question.text, question.answer, question.type)

    def score(self, example: Example, generated: str) -> float:
        """The F1 of what is named: 1 if it is all that is there and nothing else, 0 if nothing of it is."""
        true, claimed = count_names(example.answer), count_names(generated)
        return 2 * (true & claimed).total() / (true.total() + claimed.total())


def count_names(text: str) -> Counter[str]:
    """How many of each thing a description names, a shape with its color; a background is there once.

    "Two red stars, a fish and another fish on grass" is {"red star": 2, "fish": 2, "grass": 1}; "the fish" is
    one that was named before, if one was.
    """
    found: Counter[str] = Counter()
    phrase: list[str] = []  # since the last name or punctuation mark
    for word in re.findall(r"\w+|[^\w\s]", text.lower()):
        if word in NAMES:
            _add(found, NAMES[word], phrase)
        phrase = [] if word in NAMES or not word.isalnum() else [*phrase, word]
    return found


def _add(found: Counter[str], name: str, phrase: list[str]) -> None:
    """Count a name with the words before it: the nearest color and the nearest number or article hold."""
    if name in TEXTURES:
        found[name] = 1
        return
    colors = [word for word in phrase if word in COLORS]
    label = f"{colors[-1]} {name}" if colors and name in SHAPES else name
    amount = next((word for word in reversed(phrase) if word in AMOUNTS or word == "the"), "a")
    is_known = amount == "the" and found[label] > 0
    found[label] += 0 if is_known else AMOUNTS.get(amount, 1)
