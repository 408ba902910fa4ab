"""What a comparison measures does not depend on whether the questions about a picture share a pass."""

from dataclasses import dataclass, replace

import pytest

from wordsight import pruners
from wordsight.evaluation.comparison import compare
from wordsight.evaluation.prepared_task import PreparedTask
from wordsight.media.video import Video
from wordsight.models.vlm import VLM
from wordsight.synthetic.scenes import render
from wordsight.tasks.base import Task
from wordsight.tasks.scenes import Scenes


@pytest.fixture
def read_whole():
    """A block in which every question is read from its first token on."""

    class Whole:
        def __enter__(self):
            self.patch = pytest.MonkeyPatch()
            self.patch.setattr(VLM, "_shares_answers", False)

        def __exit__(self, *_):
            self.patch.undo()

    return Whole()


@dataclass(kw_only=True)
class Uneven(Task):
    """So many questions about each picture, but about a film in the place of the last."""

    counts: tuple[int, ...]

    def examples(self):
        asked = list(Scenes(pictures=len(self.counts)).examples())
        film = Video.of([render(seed).image for seed in (0, 1)], fps=2)
        for number, count in enumerate(self.counts):
            own = [example for example in asked if example.picture_id == str(number)][:count]
            is_last = number == len(self.counts) - 1
            yield from (replace(one, images=[film]) for one in own) if is_last else own


def test_every_method_says_the_same(embedded, read_whole):
    names = sorted({*pruners.names()} - {"scores"})  # which reads a file
    methods = [method for name in names if not (method := pruners.make(name)).reads_question]
    signals = frozenset().union(*(method.required_signals for method in methods))
    task = Uneven(counts=(5, 1, 2))
    prepared = PreparedTask.of(embedded, task, task.first(None), signals=signals)
    for method in methods:
        method = replace(method, keep=0.3)
        shared = prepared.answers(method)
        with read_whole:
            assert prepared.answers(method) == shared, method


def test_rows_and_answers_are_the_same(embedded, read_whole):
    methods = [replace(pruners.make(name), keep=0.2) for name in ("uniform", "codebook")]
    task = Uneven(counts=(12, 1, 3))
    shared = compare(embedded, [task], methods)
    with read_whole:
        whole = compare(embedded, [task], methods)
    assert shared.rows == whole.rows
    assert shared.answers == whole.answers
    assert len({row["accuracy"] for row in shared.rows}) > 2
