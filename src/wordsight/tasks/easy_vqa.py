"""easy-VQA: one colored shape on a pale ground; 13 answers, of which a blind model gets two thirds.

Victor Zhou's data set, https://github.com/vzhou842/easy-VQA (MIT), as the PyPI package `easy-vqa` ships it.
The validation split is the second half of its test pictures, the test split the first half: the training
pictures train the demo model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module

from wordsight.errors import UsageError
from wordsight.tasks.base import Example, Task

COLORS = frozenset({"red", "green", "blue", "yellow", "black", "gray", "teal", "brown"})
SHAPES = frozenset({"circle", "rectangle", "triangle"})


@dataclass(kw_only=True)
class EasyVqa(Task):
    """Types: existence (yes or no), shape, color."""

    def examples(self) -> Iterator[Example]:
        try:
            easy_vqa = import_module("easy_vqa")
        except ModuleNotFoundError as error:
            raise UsageError("task easy_vqa needs its data: pip install 'wordsight[eval]'") from error
        paths = easy_vqa.get_test_image_paths()
        half = len(paths) // 2
        rows = sorted(zip(*reversed(easy_vqa.get_test_questions()), strict=True), key=lambda row: row[0])
        for picture, answer, question in rows:
            if (picture < half) == (self.split == "test"):
                yield Example(paths[picture], str(picture), question, answer, _type(answer))


def _type(answer: str) -> str:
    if answer in COLORS:
        return "color"
    return "shape" if answer in SHAPES else "existence"
