"""Results: the rows of a comparison and the environment of the run, as JSON or as parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval
from typing_extensions import NotRequired, TypedDict

from wordsight._utils.artifacts import DIGEST, sealed
from wordsight._utils.files import check_file, replacing
from wordsight._utils.records import checked, json_text, read_json, renamed
from wordsight.errors import FileError, UsageError
from wordsight.evaluation.environment import Machine, Weights
from wordsight.evaluation.metrics import Metrics
from wordsight.evaluation.result_cache import Selection

FORMAT = 3
PARQUET = ".parquet"
EARLIER = {"rescued": "drops_all"}  # what fields of a row were called in format 1


class RowKey(TypedDict):
    """What tells a row from others: exactly one of `keep` and `tokens` is null."""

    model: str
    task: Annotated[str, "the SPEC of a task, or how many tasks the mean is over"]
    tasks: Annotated[int, "1, or how many the mean is over"]
    pruner: Annotated[str, "a SPEC; none is the unpruned model, resized are smaller pictures"]
    keep: Annotated[float | None, "the share of the visual tokens to keep, in (0, 1]"]
    tokens: Annotated[int | None, "or their number"]
    seeds: Annotated[int, "that the scores are means over"]


class Row(RowKey, Metrics):
    """A pruner at one budget on one task and model, or the mean over tasks."""


class ComparisonEnvironment(Machine):
    """When, on what and with what a comparison was run."""

    models: list[Weights]


class Question(TypedDict):
    """A question that was asked."""

    picture: Annotated[str, "what tells the pictures or videos from others"]
    question: str
    answers: Annotated[list[str], "all that are right"]
    type: str


class Answered(TypedDict):
    """What was said at one budget to the questions of a task, in their order, for each seed."""

    pruner: Annotated[str, "a SPEC, none, resized or blind"]
    keep: float | None
    tokens: int | None
    texts: list[list[str]]
    scores: list[list[Annotated[float, Interval(ge=0, le=1)]]]


class TaskAnswers(TypedDict):
    """The questions of a task, and what was said to them."""

    model: str
    task: str
    questions: list[Question]
    answered: list[Answered]


class ResultsRecord(TypedDict):
    """The results of a comparison."""

    format: int
    rows: list[Row]
    environment: ComparisonEnvironment
    answers: Annotated[list[TaskAnswers], "empty in results of format 1 and 2"]
    asked: NotRequired[Annotated[Selection, "of every task"]]


@dataclass(frozen=True)
class Results:
    """One row per model, task, pruner and budget, the environment of the run, and what was said."""

    rows: list[Row]
    environment: ComparisonEnvironment
    asked: Selection | None = None
    answers: list[TaskAnswers] = field(default_factory=list)

    @classmethod
    def load(cls, path: str | Path) -> Results:
        """The results in a JSON file, of this or an earlier version. Raises FileError if it holds none."""
        path = Path(path)
        if path.suffix == PARQUET:
            raise FileError(f"results are read from .json; {path.name} is a table for other programs")
        data = _unsealed(read_json(path, "results of `wordsight compare`"), path)
        record = checked(ResultsRecord, _migrated(data, path), path)
        for row in record["rows"]:
            if (row["keep"] is None) == (row["tokens"] is None):
                raise FileError(
                    f"{path} is damaged: the row of {row['pruner']} has both keep and tokens, or neither"
                )
        _check_answers(record["answers"], path)
        return cls(record["rows"], record["environment"], record.get("asked"), record["answers"])

    def as_json(self) -> ResultsRecord:
        """What `load` reads again."""
        record: ResultsRecord = {
            "format": FORMAT,
            "rows": self.rows,
            "environment": self.environment,
            "answers": self.answers,
        }
        return record if self.asked is None else {**record, "asked": self.asked}

    def save(self, path: str | Path) -> None:
        """Write both, whole or not at all: as parquet if the file is called so, else as JSON.

        In parquet a column holds what is nested in a row under its path, as `split.easy.accuracy`; an
        interval is three columns, its mean, low and high. What was said is in two columns, `texts` and
        `scores`; format, environment and questions are JSON in the schema's metadata.
        """
        with replacing(Path(path)) as draft:
            if draft.suffix == PARQUET:
                self._write_parquet(draft)
                return
            draft.write_text(json_text(sealed(self.as_json())) + "\n")

    def _write_parquet(self, path: Path) -> None:
        arrow = import_module("pyarrow")
        rows = [dict(_flat(row)) | self._said(row) for row in self.rows]
        columns = dict.fromkeys(name for row in rows for name in row)
        table = arrow.table({name: [row.get(name) for row in rows] for name in columns})
        rest = {name: value for name, value in self.as_json().items() if name not in ("rows", "answers")}
        rest["questions"] = [
            {"model": each["model"], "task": each["task"], "questions": each["questions"]}
            for each in self.answers
        ]
        metadata = {name: json.dumps(value) for name, value in rest.items()}
        import_module("pyarrow.parquet").write_table(table.replace_schema_metadata(metadata), path)

    def _said(self, row: Row) -> dict[str, Any]:
        """What was said for a row, none where it is a mean over tasks."""
        for task in self.answers:
            place = (row["model"], row["task"], row["pruner"], row["keep"], row["tokens"])
            for each in task["answered"]:
                if place == (task["model"], task["task"], each["pruner"], each["keep"], each["tokens"]):
                    return {"texts": each["texts"], "scores": each["scores"]}
        return {}


def check_results(path: Path) -> None:
    """Raises UsageError if results could not be written there, before the work that makes them."""
    check_file(path)
    if path.suffix not in (".json", PARQUET):
        raise UsageError(f"results are written as .json or {PARQUET}; got {path.name!r}")
    if path.suffix == PARQUET and find_spec("pyarrow") is None:
        raise UsageError("writing parquet needs pyarrow: pip install 'wordsight[report]'")


def _unsealed(data: Any, path: Path) -> dict[str, Any]:
    """The results without the digest that a file has, which must be right; what --json prints has none."""
    if not isinstance(data, dict) or "rows" not in data:
        raise FileError(f"{path} holds no results of `wordsight compare`; expected a file that --out wrote")
    digest = data.pop(DIGEST, None)
    if digest is not None and digest != sealed(data)[DIGEST]:
        raise FileError(f"{path} is damaged or edited: its content is not what was written; compare again")
    return data


def _check_answers(answers: list[TaskAnswers], path: Path) -> None:
    """Raises FileError if something was said to more or fewer questions than there are."""
    for task in answers:
        for each in task["answered"]:
            lengths = {len(task["questions"]), *map(len, each["texts"]), *map(len, each["scores"])}
            if len(lengths) > 1 or len(each["texts"]) != len(each["scores"]):
                raise FileError(
                    f"{path} is damaged: the answers with {each['pruner']} are not as many as the questions "
                    f"of {task['task']}"
                )


def _migrated(data: dict[str, Any], path: Path) -> dict[str, Any]:
    """The results as format 3 has them. Formats 1 and 2 have no answers. Format 1 had no number, and its rows
    one `keep`: a share as float, a count as int.
    """
    if (number := data.get("format", 1)) not in (1, 2, FORMAT):
        raise FileError(
            f"{path} has results of format {number}; this version of wordsight reads 1, 2 and {FORMAT}"
        )
    if number == FORMAT:
        return data
    rows = data["rows"]
    if number == 1 and isinstance(rows, list):
        rows = [*map(_migrated_row, rows)]
    return data | {"format": FORMAT, "rows": rows, "answers": []}


def _migrated_row(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    is_count = isinstance(row.get("keep"), int)
    budget = {"keep": None, "tokens": row["keep"]} if is_count else {"tokens": None}
    return renamed(row, EARLIER) | budget


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value in a row with the path to it."""
    if isinstance(value, list):
        # Three numbers are a mean or median and its interval; others, as batches of a timing, are counted.
        names = ("mean", "low", "high") if _is_interval(value) else range(len(value))
        value = dict(zip(map(str, names), value, strict=True))
    if value is None:
        return
    if not isinstance(value, dict):
        yield path, value
        return
    for name, item in value.items():
        yield from _flat(item, f"{path}.{name}" if path else name)


def _is_interval(value: list[Any]) -> bool:
    return len(value) == 3 and all(isinstance(item, float | None) for item in value)
