"""Answers: what was said in a comparison, question by question."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal

from typing_extensions import TypedDict

from wordsight._utils.numbers import counted, percent
from wordsight.errors import FileError, unknown
from wordsight.evaluation.metrics import RIGHT
from wordsight.evaluation.results import Results, TaskAnswers
from wordsight.reports.tables import Table

FORMAT = 1
Show = Literal["wrong", "all"]


class ShownAnswer(TypedDict):
    """What was said to a question, beside what is right."""

    model: str
    task: str
    pruner: Annotated[str, "a SPEC, none, resized or blind"]
    keep: float | None
    tokens: int | None
    seed: int
    picture: str
    type: str
    question: str
    answers: Annotated[list[str], "all that are right"]
    said: str
    score: float


class AnswersRecord(TypedDict):
    """The answers of a comparison, all or those that are wrong."""

    format: int
    show: Show
    answers: list[ShownAnswer]


def answers_record(
    results: Results, show: Show, *, tasks: Sequence[str] = (), pruners: Sequence[str] = ()
) -> AnswersRecord:
    """The answers, all or those that score below RIGHT, of these tasks and pruners, of all without any.

    Raises FileError if the results have no answers, UsageError if they have no such task or pruner.
    """
    if not results.answers:
        raise FileError("these results have no answers: they are of an earlier version; compare again")
    _check(tasks, "task", (task["task"] for task in results.answers))
    _check(pruners, "pruner", (each["pruner"] for task in results.answers for each in task["answered"]))
    shown = [
        answer
        for task in results.answers
        if not tasks or task["task"] in tasks
        for answer in _answers(task)
        if (show == "all" or answer["score"] < RIGHT) and (not pruners or answer["pruner"] in pruners)
    ]
    return {"format": FORMAT, "show": show, "answers": shown}


def answers_table(record: AnswersRecord) -> Table:
    """A line for each answer."""
    body = [
        (
            *(answer["task"], answer["pruner"], _budget(answer), str(answer["seed"]), answer["picture"]),
            *(" ".join(answer["question"].split()), " / ".join(answer["answers"])),
            *(" ".join(answer["said"].split()), f"{answer['score']:.2f}"),
        )
        for answer in record["answers"]
    ]
    head = ("task", "pruner", "keep", "seed", "picture", "question", "right", "said", "score")
    title = "Wrong answers" if record["show"] == "wrong" else "Answers"
    return Table(title, head, body, (counted(len(body), "answer"),))


def _check(asked: Sequence[str], kind: str, known: Iterable[str]) -> None:
    there = set(known)
    for name in asked:
        if name not in there:
            raise unknown(f"{kind} of these results", name, there)


def _answers(task: TaskAnswers) -> Iterator[ShownAnswer]:
    for each in task["answered"]:
        for seed, (texts, scores) in enumerate(zip(each["texts"], each["scores"], strict=True)):
            for question, said, score in zip(task["questions"], texts, scores, strict=True):
                yield {
                    "model": task["model"],
                    "task": task["task"],
                    "pruner": each["pruner"],
                    "keep": each["keep"],
                    "tokens": each["tokens"],
                    "seed": seed,
                    **question,
                    "said": said,
                    "score": score,
                }


def _budget(answer: ShownAnswer) -> str:
    return percent(answer["keep"]) if answer["tokens"] is None else f"{answer['tokens']} tokens"
