"""The handler: what the server makes of a question, the page and the record of `explain`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from wordsight._utils.records import json_text
from wordsight.explain.page import render_page
from wordsight.explain.panels import numbered, pictures
from wordsight.explain.record import ExplainRequest, explain_tokens
from wordsight.media.inputs import MediaInput
from wordsight.models.vlm import VLM
from wordsight.redundancy.experiments import measure_tokens
from wordsight.redundancy.probe import QUESTION


@dataclass(frozen=True)
class ViewRequest:
    """A question about pictures or videos; `digest` is of their files, `question` may be empty."""

    media: MediaInput
    names: Sequence[str]
    digest: str
    question: str


@dataclass(frozen=True)
class ExplainResult:
    """What came of a question: its answer, its record as JSON, and its page."""

    answer: str
    record: str
    page: str


class RequestHandler:
    """Explains one question after another. What is measured of the tokens of pictures is kept until other
    pictures come; what their absence changes in the answer is measured for every question.
    """

    def __init__(self, vlm: VLM, make_request: Callable[..., ExplainRequest]) -> None:
        self._vlm, self._make_request = vlm, make_request
        self._digest, self._measured = "", dict[str, Tensor]()

    def __call__(self, request: ViewRequest) -> ExplainResult:
        to_explain = self._make_request(names=numbered(request.names), question=request.question or QUESTION)

        def measure(*given: Any) -> dict[str, Tensor]:
            if request.digest != self._digest:
                self._measured = measure_tokens(*given)
                self._digest = request.digest
            return self._measured

        record = explain_tokens(self._vlm, request.media, to_explain, measure=measure)
        page = render_page(record, pictures(request.media, record["panels"]))
        return ExplainResult(record["answer"], json_text(record, indent=None), page)
