"""Question files: their rows, from whichever kind of file, each with its place for errors to name."""

from __future__ import annotations

import ast
import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

from wordsight._utils.arrow import is_saved_dataset, pyarrow_for, saved_dataset_files
from wordsight.errors import UsageError

Fields = dict[str, Any]
LISTS = ("answer", "answers", "choices", "image", "images", "image_path", "options", "video", "videos")
MOST = 5  # problems that are told at once


@dataclass(frozen=True)
class Row:
    """The fields of a question; `place` says where it stands, as "line 3"."""

    place: str
    fields: Fields


@dataclass
class Problems:
    """What is wrong with a file: collected row by row, then told at once."""

    path: Path | str
    found: list[tuple[str, UsageError]] = field(default_factory=list)

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """A UsageError in the block is kept, and the block left."""
        try:
            yield
        except UsageError as error:
            self.found.append((place, error))

    def check(self) -> None:
        """Raises the error of the first problems, which says how many there are."""
        if not self.found:
            return
        place, error = self.found[0]
        if len(self.found) == 1:
            raise type(error)(f"{self.path}, {place}: {error}") from error
        told = "; ".join(f"{place}: {error}" for place, error in self.found[:MOST])
        more = f"; and {len(self.found) - MOST} more" if len(self.found) > MOST else ""
        raise type(error)(f"{self.path} has {len(self.found)} problems: {told}{more}") from error


def is_readable(path: Path) -> bool:
    """Whether this names a file of questions, by its suffix, or is a folder of a saved data set."""
    return path.suffix.lower() in READERS or is_saved_dataset(path)


def read_rows(path: Path, problems: Problems) -> list[Row]:
    """The rows of a file; what is wrong with single ones goes to `problems`.

    Raises UsageError if the file as a whole cannot be read.
    """
    if "\0" in str(path):
        raise UsageError(f"no such file: {str(path)!r}, a name with a null byte; expected {QUESTIONS}")
    read = _dataset if is_saved_dataset(path) else READERS.get(path.suffix.lower(), _json)
    try:
        rows = list(read(path, problems))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; expected {QUESTIONS}") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"cannot read {path}: it is not UTF-8 text; expected {QUESTIONS}, saved as UTF-8"
        ) from error
    if not rows and not problems.found:
        raise UsageError(f"{path} is empty; expected {QUESTIONS}")
    return rows


def _json(path: Path, problems: Problems) -> Iterator[Row]:
    """One object a line, or a list of them, whatever the suffix says."""
    text = path.read_text("utf-8-sig")
    if _is_list(text):
        yield from _json_list(text, path, problems)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            with problems.at(f"line {number}"):
                yield Row(f"line {number}", _object(line, _loads(line)))


def _is_list(text: str) -> bool:
    """A list that begins with an object, not lines of lists."""
    return text.lstrip()[:1] == "[" and text.lstrip()[1:].lstrip()[:1] in ("{", "]", "")


def _json_list(text: str, path: Path, problems: Problems) -> Iterator[Row]:
    start, end, line = 0, text.index("[") + 1, 1
    while True:
        line += text.count("\n", start, end)
        start = next(NO_GAP.finditer(text, end)).start()
        line += text.count("\n", end, start)
        place = f"line {line}"
        if text[start : start + 1] == "]":
            return
        try:
            value, end = DECODER.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            problems.found.append((place, _no_json(error)))
            return
        with problems.at(place):
            yield Row(place, _object(text[start:end], value))


def _loads(text: str) -> Any:
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise _no_json(error) from error


def _no_json(error: Exception) -> UsageError:
    if isinstance(error, UsageError):
        return error
    if isinstance(error, json.JSONDecodeError):
        return UsageError(f"this is not JSON ({error.msg} at character {error.colno})")
    reason = "it is too deeply nested" if isinstance(error, RecursionError) else "a number is too long"
    return UsageError(f"this is not JSON that can be read ({reason})")


def _unique(pairs: list[tuple[str, Any]]) -> Fields:
    if twice := [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]:
        raise UsageError(f"field {twice[0]!r} is there twice")
    return dict(pairs)


def _no_number(name: str) -> None:
    raise UsageError(f"this is not JSON ({name} is no number)")


NO_GAP = re.compile(r"[^ \t\r\n,]|\Z")
DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_number)


def _object(text: str, value: Any) -> Fields:
    if not isinstance(value, dict):
        raise UsageError(f"expected a JSON object, as {{...}}; got {text.strip()[:40]!r}")
    return value


def _table(path: Path, problems: Problems) -> Iterator[Row]:
    """Cells below a line of column names; empty cells are fields that are not there."""
    comma = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding="utf-8-sig", newline="") as file, _large_cells():
        reader = csv.reader(file, delimiter=comma, strict=True)
        names: list[str] = []
        start = 1
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise UsageError(f"{path}, line {start}: this is no table ({error})") from error
            if cells is None:
                return
            place, start = f"line {start}", reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if not names:
                names = _names(path, cells)
                continue
            with problems.at(place):
                yield Row(place, _cells(names, cells))


def _names(path: Path, cells: list[str]) -> list[str]:
    """The names of the columns."""
    names = [cell.strip() for cell in cells]
    if len(names) == 1:
        mark = "tabs" if path.suffix.lower() == ".tsv" else "commas"
        raise UsageError(f"{path} has one column, {names[0][:80]!r}; expected several, parted by {mark}")
    for name in names:
        if name and names.count(name) > 1:
            raise UsageError(f"{path} has two columns {name!r}; leave one out")
    return names


def _cells(names: list[str], cells: list[str]) -> Fields:
    if len(cells) != len(names):
        raise UsageError(f"expected {len(names)} cells, as in the first line; got {len(cells)}")
    pairs = zip(names, cells, strict=True)
    return {name: _cell(name, cell) for name, cell in pairs if name and cell.strip()}


def _cell(name: str, cell: str) -> Any:
    """A cell of several texts is a list, in JSON or as Python prints one."""
    if name not in LISTS or not (cell.startswith("[") and cell.endswith("]")):
        return cell
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
    return cell


@contextmanager
def _large_cells() -> Iterator[None]:
    """Pictures are in cells: the module's limit is lifted meanwhile."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _parquet(path: Path, _: Problems) -> Iterator[Row]:
    with pyarrow_for(path, "parquet file"), import_module("pyarrow.parquet").ParquetFile(path) as file:
        yield from _records(file.schema_arrow, file.iter_batches(batch_size=256))


def _dataset(path: Path, _: Problems) -> Iterator[Row]:
    """What `save_to_disk` of the library `datasets` wrote."""
    count = 0
    for file in saved_dataset_files(path):
        with pyarrow_for(path, "saved data set") as arrow, arrow.ipc.open_stream(file) as stream:
            for row in _records(stream.schema, stream, count):
                yield row
                count += 1


def _records(schema: Any, batches: Any, count: int = 0) -> Iterator[Row]:
    labels = _labels(schema)
    for batch in batches:
        for fields in batch.to_pylist():
            count += 1
            there = {name: value for name, value in fields.items() if value is not None}
            named = {
                name: labels[name][value] if name in labels and value in range(len(labels[name])) else value
                for name, value in there.items()
            }
            yield Row(f"row {count}", named)


def _labels(schema: Any) -> dict[str, list[str]]:
    """The names of classes that `datasets` keeps as numbers."""
    metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = metadata.get("info", {}).get("features", {})
    return {
        name: feature["names"]
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }


def number_text(value: float | int | Decimal) -> str:
    """A number as one writes it: 5, 0.5, never 5e-05."""
    return format(Decimal(repr(value) if isinstance(value, float) else value), "f")


READERS: dict[str, Callable[[Path, Problems], Iterator[Row]]] = {
    ".csv": _table,
    ".json": _json,
    ".jsonl": _json,
    ".parquet": _parquet,
    ".tsv": _table,
}
KINDS = f"{', '.join(READERS)}, or a folder that `save_to_disk` of `datasets` wrote"
QUESTIONS = "questions, as one JSON object a line"
