"""Results: the rows of a comparison and the environment of the run, as JSON or as parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

from typing_extensions import TypedDict

from wordsight._utils.files import check_file, check_suffix, replacing
from wordsight._utils.records import check_replaced, checked, read_json, renamed
from wordsight.errors import FileError, UsageError
from wordsight.evaluation.environment import Machine, Weights
from wordsight.evaluation.metrics import Metrics

FORMAT = 2
PARQUET = ".parquet"
SUFFIXES = (".json", PARQUET)
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


class ResultsRecord(TypedDict):
    """The results of a comparison."""

    format: int
    rows: list[Row]
    environment: ComparisonEnvironment


@dataclass(frozen=True)
class Results:
    """One row per model, task, pruner and budget, and the environment of the run."""

    rows: list[Row]
    environment: ComparisonEnvironment

    @classmethod
    def load(cls, path: str | Path) -> Results:
        """The results in a JSON file, of this or an earlier version. Raises FileError if it holds none."""
        path = Path(path)
        if path.suffix.lower() == PARQUET:
            raise FileError(f"results are read from .json; {path.name} is a table for other programs")
        data = _migrated(read_json(path, "results of `wordsight compare`"), path)
        record = checked(ResultsRecord, data, path)
        for row in record["rows"]:
            if (row["keep"] is None) == (row["tokens"] is None):
                raise FileError(
                    f"{path} is damaged: the row of {row['pruner']} has both keep and tokens, or neither"
                )
        return cls(record["rows"], record["environment"])

    def as_json(self) -> ResultsRecord:
        """What `load` reads again."""
        return {"format": FORMAT, "rows": self.rows, "environment": self.environment}

    def save(self, path: str | Path) -> None:
        """Write both, whole or not at all: as parquet if the file is called so, else as JSON.

        In parquet a column holds what is nested in a row under its path, as `split.easy.accuracy`; an
        interval is three columns, its mean, low and high; format and environment are JSON in the schema's
        metadata.
        """
        path = Path(path)
        check_suffix(path, SUFFIXES)
        with replacing(path) as draft:
            if path.suffix.lower() == PARQUET:
                draft.write_bytes(self._as_parquet())
            else:
                draft.write_text(json.dumps(self.as_json(), indent=1) + "\n")

    def _as_parquet(self) -> bytes:
        arrow = import_module("pyarrow")
        rows = [dict(_flat(row)) for row in self.rows]
        columns = dict.fromkeys(name for row in rows for name in row)
        table = arrow.table({name: [row.get(name) for row in rows] for name in columns})
        metadata = {"format": json.dumps(FORMAT), "environment": json.dumps(self.environment)}
        file = BytesIO()
        import_module("pyarrow.parquet").write_table(table.replace_schema_metadata(metadata), file)
        return file.getvalue()


def check_results(path: Path, apart: Iterable[str | Path] = ()) -> None:
    """Raises UsageError if results could not be written there, before the work that makes them."""
    check_file(path, SUFFIXES, apart)
    check_replaced(path, "rows")
    if path.suffix.lower() == PARQUET and find_spec("pyarrow") is None:
        raise UsageError("writing parquet needs pyarrow: pip install 'wordsight[report]'")


def _migrated(data: Any, path: Path) -> Any:
    """The results as format 2 has them. Format 1 had no number, and its rows one `keep`: a share as float, a
    count as int.
    """
    if not isinstance(data, dict) or "rows" not in data:
        raise FileError(f"{path} holds no results of `wordsight compare`; expected a file that --out wrote")
    if (number := data.get("format", 1)) not in (1, FORMAT):
        raise FileError(
            f"{path} has results of format {number}; this version of wordsight reads 1 and {FORMAT}"
        )
    if number == FORMAT:
        return data
    rows = data["rows"]
    return data | {"format": FORMAT, "rows": [*map(_migrated_row, rows)] if isinstance(rows, list) else rows}


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
    return len(value) == 3 and all(isinstance(item, float) for item in value)
