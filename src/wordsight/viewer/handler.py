"""Teller: what the server does with a question, the page and the record of `explain`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from wordsight.explain.page import render_page
from wordsight.explain.panels import numbered, pictures
from wordsight.explain.record import ExplainRequest, explain_tokens
from wordsight.media.inputs import MediaInput
from wordsight.models.vlm import VLM
from wordsight.redundancy.evidence import measure_tokens
from wordsight.redundancy.probe import QUESTION


@dataclass(frozen=True)
class Question:
    """A question about pictures or videos; `digest` is of their files, `text` may be empty."""

    shown: MediaInput
    names: Sequence[str]
    digest: str
    text: str


@dataclass(frozen=True)
class ExplainResult:
    """The story of a question: its answer, its record as JSON, and its page."""

    answer: str
    record: str
    render_page: str


class Handler:
    """Tells questions one after another. What the tokens of pictures say is remembered until others come;
    what their absence changes in the answer is asked for every question.
    """

    def __init__(self, vlm: VLM, asking: Callable[..., ExplainRequest]) -> None:
        self._vlm, self._asking = vlm, asking
        self._digest, self._examined = "", dict[str, Tensor]()

    def __call__(self, question: Question) -> ExplainResult:
        asked = self._asking(names=numbered(question.names), question=question.text or QUESTION)

        def remembered(*given: Any) -> dict[str, Tensor]:
            if question.digest != self._digest:
                self._examined = measure_tokens(*given)
                self._digest = question.digest
            return self._examined

        story = explain_tokens(self._vlm, question.shown, asked, measure=remembered)
        record = json.dumps(story, allow_nan=False)
        return ExplainResult(
            story["answer"], record, render_page(story, pictures(question.shown, story["panels"]))
        )
