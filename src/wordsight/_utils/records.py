"""Records that leave the program: typed, numbered by format, and checked when they are read again.

A record is a TypedDict beside the function that makes it; its docstring describes it, `Annotated[..., "..."]`
its fields, and docs/records.md is generated from both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from wordsight.errors import FileError

T = TypeVar("T")


def checked(kind: type[T], data: Any, where: str | Path) -> T:
    """The data as a record of this kind, a TypedDict. Raises FileError, which names `where`, if it is none:
    a field is missing, or of another type.
    """
    from pydantic import TypeAdapter, ValidationError  # only where something is read: it takes a while

    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "all of it"
        raise FileError(f"{where} is damaged or of another version: {place}: {first['msg']}") from error


def read_json(path: Path, what: str) -> Any:
    """What a JSON file holds. Raises FileError, which says `what` it should be, if it cannot be read."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read {path}: expected {what} ({error})") from error


def check_replaced(path: Path, field: str) -> None:
    """Raises FileError if a .json file is there that is no older record with this field: a configuration of a
    model, say, must not be lost.
    """
    if not path.is_file() or path.suffix.lower() != ".json":
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
