"""What a verdict is about: where pictures come from, and which questions are asked about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

from kinds import KINDS, SEEDS, Drawn
from wordsight import VLM
from wordsight._utils.files import replacing
from wordsight.redundancy.probe import QUESTION
from wordsight.tasks.base import Example, Split, Task


@dataclass(frozen=True)
class Subject:
    """pictures  the files of the first so many pictures of a split, of training too.
    task         the questions about the first so many of a split.
    first_word   whether only the first token of an answer is read.
    """

    pictures: Callable[[str, int], list[Path]]
    task: Callable[[VLM, Split, int], Task]
    first_word: bool = False


def scenes(kind: str, kept: Path) -> Subject:
    """Rendered scenes of a kind, whose pictures are kept in a folder."""
    draw = KINDS[kind]

    def pictures(split: str, count: int) -> list[Path]:
        folder = kept / kind.replace(" ", "-") / split
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{number:05}.png" for number in range(count)]
        for number, path in enumerate(paths):
            if not path.exists():
                with replacing(path) as draft:
                    draw(SEEDS[split] + number).image.save(draft)
        return paths

    return Subject(pictures, lambda _, split, count: Drawn(split=split, pictures=count, draw=draw))


@dataclass(kw_only=True)
class Names(Task):
    """What a photo shows, by the first token of its name, which is a whole word for almost all."""

    max_new_tokens: ClassVar[int] = 1
    photos: Sequence[tuple[str, str]] = field(repr=False)  # files and names
    spell: Callable[[str], str] = field(repr=False)

    def examples(self) -> Iterator[Example]:
        for path, name in self.photos:
            yield Example(path, path, QUESTION, self.spell(name), "names")


class WholeNames(Names):
    """The same by the whole name."""

    max_new_tokens: ClassVar[int] = 8


def photos(folder: Path) -> Subject:
    """Photos of known classes, in random order; training/photos has to be on the path."""
    from photos import read_photos

    known = [(photo.split, photo.path, photo.name) for photo in read_photos(folder) if photo.known]

    def of(split: str, count: int) -> list[tuple[str, str]]:
        return [(path, str(name)) for where, path, name in known if where == split][:count]

    def names(vlm: VLM, split: Split, count: int) -> Names:
        return Names(split=split, photos=of(split, count), spell=partial(_first_token, vlm))

    return Subject(lambda split, count: [Path(path) for path, _ in of(split, count)], names, first_word=True)


def _first_token(vlm: VLM, name: str) -> str:
    tokenizer = vlm.processor.tokenizer
    ids = tokenizer(f" {name}", add_special_tokens=False)["input_ids"][:1]
    return str(tokenizer.decode(ids)).strip()
