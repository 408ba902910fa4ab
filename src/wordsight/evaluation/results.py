"""Results: the rows of a comparison and the environment of the run, as JSON or as parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from wordsight._utils.files import check_file, replacing
from wordsight.errors import UsageError

PARQUET = ".parquet"


@dataclass
class Results:
    """One row per model, task, pruner and keep, and the environment of the run."""

    rows: list[dict[str, Any]]
    environment: dict[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write both, whole or not at all: as parquet if the file is called so, else as JSON.

        In parquet a column holds what is nested in a row under its path, as `split.easy.accuracy`; an
        interval is three columns, its mean, low and high; the environment is JSON in the schema's metadata.
        """
        with replacing(Path(path)) as draft:
            if draft.suffix == PARQUET:
                self._write_parquet(draft)
                return
            record = {"rows": self.rows, "environment": self.environment}
            draft.write_text(json.dumps(record, indent=1) + "\n")

    def _write_parquet(self, path: Path) -> None:
        arrow = import_module("pyarrow")
        rows = [dict(_flat(row)) for row in self.rows]
        columns = dict.fromkeys(name for row in rows for name in row)
        table = arrow.table({name: [row.get(name) for row in rows] for name in columns})
        metadata = {"environment": json.dumps(self.environment)}
        import_module("pyarrow.parquet").write_table(table.replace_schema_metadata(metadata), path)


def check_results(path: Path) -> None:
    """Raises UsageError if results could not be written there, before the work that makes them."""
    check_file(path)
    if path.suffix not in (".json", PARQUET):
        raise UsageError(f"results are written as .json or {PARQUET}; got {path.name!r}")
    if path.suffix == PARQUET and find_spec("pyarrow") is None:
        raise UsageError("writing parquet needs pyarrow: pip install 'wordsight[report]'")


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value in a row with the path to it."""
    if isinstance(value, list):
        # Three numbers are a mean or median and its interval; others, as batches of a timing, are counted.
        names = ("mean", "low", "high") if _is_interval(value) else range(len(value))
        value = dict(zip(map(str, names), value, strict=True))
    if value is None:
        return
    if not isinstance(value, dict):
        # `keep` is a share or a whole number of tokens; a column has one type.
        yield path, repr(value) if path == "keep" else value
        return
    for name, item in value.items():
        yield from _flat(item, f"{path}.{name}" if path else name)


def _is_interval(value: list[Any]) -> bool:
    return len(value) == 3 and all(isinstance(item, float) for item in value)
