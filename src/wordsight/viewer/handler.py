"""Teller: what the server does with a question, the page and the record of `explain`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from wordsight.explain.page import page
from wordsight.explain.panels import numbered, pictures
from wordsight.explain.record import Asked, tell
from wordsight.media.inputs import Shown
from wordsight.models.vlm import VLM
from wordsight.redundancy.evidence import examine
from wordsight.redundancy.probe import QUESTION


@dataclass(frozen=True)
class Question:
    """A question about pictures or videos; `digest` is of their files, `text` may be empty."""

    shown: Shown
    names: Sequence[str]
    digest: str
    text: str


@dataclass(frozen=True)
class Told:
    """The story of a question: its answer, its record as JSON, and its page."""

    answer: str
    record: str
    page: str


class Teller:
    """Tells questions one after another. What the tokens of pictures say is remembered until others come;
    what their absence changes in the answer is asked for every question.
    """

    def __init__(self, vlm: VLM, asking: Callable[..., Asked]) -> None:
        self._vlm, self._asking = vlm, asking
        self._digest, self._examined = "", dict[str, Tensor]()

    def __call__(self, question: Question, say: Callable[[str], None]) -> Told:
        asked = self._asking(names=numbered(question.names), question=question.text or QUESTION)
        say("looking at the picture")

        def remembered(*given: Any) -> dict[str, Tensor]:
            if question.digest != self._digest:
                self._examined = examine(*given)
                self._digest = question.digest
            return self._examined

        story = tell(self._vlm, question.shown, asked, say, examine=remembered)
        record = json.dumps(story, allow_nan=False)
        return Told(story["answer"], record, page(story, pictures(question.shown, story["panels"])))
