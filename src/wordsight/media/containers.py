"""Files that hold many pictures: WebDataset's .tar, .parquet, and the .arrow files of saved data sets.

A picture in one is a small value that says where it lies, so that any process can read it without the others.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import PurePosixPath
from typing import Any

from wordsight._utils.arrow import pyarrow_for
from wordsight._utils.notes import note
from wordsight.errors import MediaError, UsageError, located, unknown
from wordsight.media.addresses import beside, is_remote, open_address, read_address, told
from wordsight.media.images import why_no_picture

TABLES = (".arrow", ".parquet")
CONTAINERS = (".tar", *TABLES)


@dataclass(frozen=True)
class TarMember:
    """The bytes of a .tar file that are a picture."""

    name: str
    address: str
    start: int
    size: int

    def read(self) -> bytes:
        return read_address(self.address, self.start, self.size)


@dataclass(frozen=True)
class TableCell:
    """A cell of a table that is a picture: its bytes, a path, or a struct of both, as `datasets` has it.

    Rows are counted in their group of the .parquet file; an .arrow file is one group.
    """

    name: str
    address: str
    group: int
    row: int
    column: str

    def read(self) -> bytes:
        try:
            value = _column(self.address, self.group, self.column)[self.row].as_py()
        except UsageError as error:
            raise MediaError(str(error)) from error
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, str) and value:
            return read_address(beside(self.address, value))
        if not isinstance(value, bytes):
            raise MediaError(f"{self.name} is empty; expected the bytes of a picture, or a path")
        return value


def is_container(address: str) -> bool:
    """Whether this names a file that holds pictures, by its suffix."""
    return os.path.splitext(address)[1].lower() in CONTAINERS


def pictures_in(name: str, address: str, column: str | None) -> Iterator[TarMember | TableCell]:
    """The pictures of a container, which is called `name` in theirs, in order. Raises UsageError if it is
    damaged, or has not that column.
    """
    return _cells(name, address, column) if is_table(address) else _members(name, address)


def count_in(address: str, column: str | None) -> int | None:
    """How many pictures that will be, None where only going through the file tells; the beginning of a file
    on this machine is looked at. Raises UsageError.
    """
    if is_remote(address):
        return None
    if is_table(address):
        return sum(_layout(address, column)[1])
    next(_members("", address), None)
    return None


def is_table(address: str) -> bool:
    """Whether this names a file with columns, by its suffix."""
    return os.path.splitext(address)[1].lower() in TABLES


def _members(name: str, address: str) -> Iterator[TarMember]:
    seen = set[str]()
    with told(address), open_address(address) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                while member := tar.next():
                    vars(tar)["members"] = []  # it would keep them all
                    if not member.isreg() or why_no_picture(PurePosixPath(member.name)):
                        continue
                    if member.name in seen:
                        raise MediaError(f"{address} has {member.name} twice; name each picture once")
                    seen.add(member.name)
                    yield TarMember(f"{name}/{member.name}", address, member.offset_data, member.size)
                file.seek(tar.offset)
                if file.read(tarfile.BLOCKSIZE).strip(b"\0"):  # which tarfile takes for the end
                    raise tarfile.ReadError("bad header")
        except tarfile.TarError as error:
            raise MediaError(
                f"{address} is damaged, compressed or no .tar file ({error}); make it again, uncompressed"
            ) from error


def _cells(name: str, address: str, column: str | None) -> Iterator[TableCell]:
    column, groups = _layout(address, column)
    number = 0
    for group, rows in enumerate(groups):
        for row in range(rows):
            yield TableCell(f"{name}/{number}", address, group, row, column)
            number += 1


def _layout(address: str, column: str | None) -> tuple[str, list[int]]:
    """The column that holds pictures, and the number of rows in every group."""
    if address.lower().endswith(".arrow"):
        table = _stream(address)
        schema, groups = table.schema, [table.num_rows]
    else:
        with told(address), open_address(address) as opened, pyarrow_for(address, "parquet file"):
            file = import_module("pyarrow.parquet").ParquetFile(opened)
            schema = file.schema_arrow
            groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    with located(address):
        return _picture_column(schema, column), groups


def _picture_column(schema: Any, column: str | None) -> str:
    """The column of this name, else the one that holds pictures; of several `image`, which is told."""
    fitting: list[str] = [
        field.name for field in schema if _may_hold_pictures(field.type, paths=column is not None)
    ]
    if column is not None:
        if column not in schema.names:
            raise unknown("column", column, schema.names)
        if column not in fitting:
            raise MediaError(
                f"column {column!r} holds {schema.field(column).type}; expected bytes, paths, or structs"
            )
        return column
    if len(fitting) != 1 and "image" not in fitting:
        problem = (
            f"has pictures in {' and '.join(fitting)}" if fitting else "has no column of bytes of pictures"
        )
        raise MediaError(f"it {problem}; name the column, one of {', '.join(schema.names)}")
    if len(fitting) == 1:
        return fitting[0]
    others = " or ".join(name for name in fitting if name != "image")
    note(f"pictures are those of column image, not of {others}, which --column (column) would name")
    return "image"


def _may_hold_pictures(kind: Any, *, paths: bool) -> bool:
    types = import_module("pyarrow").types
    if types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    is_bytes = types.is_binary(kind) or types.is_large_binary(kind)
    return is_bytes or (paths and (types.is_string(kind) or types.is_large_string(kind)))


@lru_cache(maxsize=1)  # a group is decoded whole, and its rows are read one after another
def _column(address: str, group: int, column: str) -> Any:
    if address.lower().endswith(".arrow"):
        return _stream(address)[column]
    with told(address), open_address(address) as file, pyarrow_for(address, "parquet file"):
        table = import_module("pyarrow.parquet").ParquetFile(file).read_row_group(group, columns=[column])
    return table[column]


def _stream(address: str) -> Any:
    """The table of an .arrow file, which is not read but mapped into memory."""
    with told(address), pyarrow_for(address, "Arrow stream, as `datasets` writes them") as arrow:
        if not is_remote(address):
            return arrow.ipc.open_stream(arrow.memory_map(address)).read_all()
        with open_address(address) as file:
            return arrow.ipc.open_stream(file).read_all()
