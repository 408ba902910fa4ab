"""Clips: four to eight rendered frames; which way a thing moves, whether it appears or vanishes, and in which
order things appear. The frames are given as so many images, in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from wordsight.synthetic.clips import render_clip
from wordsight.synthetic.questions import ask_about_clip
from wordsight.tasks.base import Example
from wordsight.tasks.rendered import RenderedTask


@dataclass(kw_only=True)
class Clips(RenderedTask):
    """clips: how many clips of the split to ask about. Types: direction, change, order."""

    clips: Annotated[int, Interval(ge=1, le=100_000)] = 200

    def examples(self) -> Iterator[Example]:
        for number in range(self.clips):
            seed = self.first_seed + number
            clip = render_clip(seed)
            for question in ask_about_clip(clip, seed):
                yield Example(clip.frames, str(number), question.text, question.answer, question.type)
