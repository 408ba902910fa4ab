"""What `wordsight ask` tells: questions with their answers, and what they were measured with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from typing_extensions import TypedDict

from wordsight.models.chat import Answer
from wordsight.models.conversation import Conversation
from wordsight.models.vlm import VLM
from wordsight.redundancy.measured_with import MeasuredWith, measured_with

FORMAT = 1


class AnswerRecord(TypedDict):
    """An answer: what was asked of which model, how many visual tokens were read, and what it took."""

    question: str
    answer: str
    cut: Annotated[bool, "whether the answer would have gone on, beyond its most tokens"]
    warning: Annotated[
        str | None, "if a picture is unlike those that the model was trained on, as far as its folder says"
    ]
    tokens_total: int
    tokens_kept: Annotated[float, "mean over layers, where some of them read more than others"]
    vision_ms: float
    selection_ms: float
    prefill_ms: float
    decode_ms: float


class EarlierText(TypedDict):
    """What was said before the first question."""

    role: Annotated[str, "system, user or assistant"]
    text: str


class AskRecord(AnswerRecord):
    """What `wordsight ask` answers; the first answer's fields are its own."""

    format: int
    model: str
    measured_with: MeasuredWith
    pruner: Annotated[str, "its SPEC, or none"]
    media: Annotated[list[str], 'the pictures or videos, in order; "" where one is in the messages itself']
    earlier: Annotated[list[EarlierText], "the texts of messages before the question, in order"]
    then: Annotated[list[AnswerRecord], "the answers to --then, in order"]


def ask_record(
    vlm: VLM, pruner: str, begun: Conversation, answers: Sequence[tuple[str, Answer]]
) -> AskRecord:
    """The record of questions and their answers, in order; the conversation ends in the first of them."""
    first, *more = (_answer_record(question, answer) for question, answer in answers)
    return {
        "format": FORMAT,
        "model": vlm.name,
        "measured_with": measured_with(vlm),
        "pruner": pruner,
        "media": list(begun.names),
        "earlier": [{"role": role, "text": text} for role, _, text in begun.earlier_texts()],
        **first,
        "then": more,
    }


def _answer_record(question: str, answer: Answer) -> AnswerRecord:
    return {
        "question": question,
        "answer": answer.text,
        "cut": answer.cut,
        "warning": answer.warning,
        "tokens_total": answer.tokens_total,
        "tokens_kept": answer.tokens_kept,
        "vision_ms": answer.vision_ms,
        "selection_ms": answer.selection_ms,
        "prefill_ms": answer.prefill_ms,
        "decode_ms": answer.decode_ms,
    }
