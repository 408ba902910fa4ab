"""Records that leave the program: typed, numbered by format, and checked when they are read again.

A record is a TypedDict beside the function that makes it; its docstring describes it, `Annotated[..., "..."]`
its fields, and docs/records.md is generated from both.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from wordsight.errors import FileError, WordsightError

T = TypeVar("T")


def checked(kind: type[T], data: Any, where: str | Path) -> T:
    """The data as a record of this kind, a TypedDict. Raises FileError, which names `where`, if it is none:
    a field is missing, or of another type.
    """
    from pydantic import TypeAdapter, ValidationError  # only where something is read: it takes a while

    adapter: TypeAdapter[T] = _adapter(kind)  # type: ignore[arg-type]  # a TypedDict is hashable
    try:
        return adapter.validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "all of it"
        raise FileError(f"{where} is damaged or of another version: {place}: {first['msg']}") from error


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def json_text(record: Any, *, indent: int | None = 1, sort_keys: bool = False) -> str:
    """The record as JSON; without `indent` on one line, as short as can be.

    Raises WordsightError, which says where, if a number in it is NaN or infinite: JSON has no such number.
    """
    try:
        separators = (",", ":") if indent is None else None
        return json.dumps(record, indent=indent, sort_keys=sort_keys, separators=separators, allow_nan=False)
    except ValueError:
        for place, value in _not_finite(record):
            raise WordsightError(
                f"the result holds {value} at {place}, which no result can be: is the checkpoint damaged, or "
                "its dtype too narrow? try bfloat16 or float32"
            ) from None
        raise


def _not_finite(value: Any, place: str = "") -> Iterator[tuple[str, float]]:
    items: Any = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    elif isinstance(value, float) and not math.isfinite(value):
        yield place, value
    for key, item in items:
        yield from _not_finite(item, f"{place}.{key}" if place else str(key))


def parse_json(text: str) -> Any:
    """What JSON holds. Raises ValueError if it is none, is nested too deep, or has a number that is NaN or
    too large.
    """
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it holds {text}, which is not a finite number")
    return number


def read_json(path: Path, what: str) -> Any:
    """What a JSON file holds. Raises FileError, which says `what` it should be, if it cannot be read."""
    try:
        return parse_json(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read {path}: expected {what} ({error})") from error


def check_replaced(path: Path, field: str) -> None:
    """Raises FileError if a .json file is there that is no older record with this field: a configuration of a
    model, say, must not be lost.
    """
    if path.suffix.lower() != ".json" or not os.path.isfile(path):
        return
    try:
        there = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        there = None
    if not isinstance(there, dict) or field not in there:
        raise FileError(f"cannot write {path}: what is there is something else; give another name")


def renamed(record: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The record with its fields called as in this version: `names` maps earlier names to those of today."""
    return {names.get(name, name): value for name, value in record.items()}
