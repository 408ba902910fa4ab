"""Addresses: paths of this machine, and what fsspec opens, as s3://, gs://, hf:// and memory://."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import IO, Any

from wordsight.errors import MediaError, WordsightError

READABLE = "expected a path, or an address such as s3://, gs:// or hf:// that can be read"


def is_remote(address: str) -> bool:
    """Whether fsspec has to open this; file:// is a path."""
    return "://" in address and not address.lower().startswith("file:")


def beside(address: str, name: str) -> str:
    """The address that a name means in a file at `address`: from its folder, unless it is a whole one."""
    if is_remote(name):
        return name
    return os.path.join(os.path.dirname(address), name)


def read_address(address: str, start: int = 0, size: int | None = None) -> bytes:
    """What is there, or `size` bytes of it from `start`. Raises MediaError."""
    if is_remote(address):
        files, path = _filesystem(address)
        with told(address):
            content: bytes = files.cat_file(path, start, None if size is None else start + size)
    else:
        with told(address), open(address, "rb") as file:
            file.seek(start)
            content = file.read(-1 if size is None else size)
    if size is not None and len(content) < size:
        raise MediaError(f"{address} is shorter than it was when its pictures were listed; list them again")
    return content


@contextmanager
def open_address(address: str) -> Iterator[IO[bytes]]:
    """A file to read and seek in. Raises MediaError if it cannot be opened."""
    if is_remote(address):
        files, path = _filesystem(address)
        with told(address):
            file = files.open(path, "rb")
    else:
        with told(address):
            file = open(address, "rb")  # noqa: SIM115  it is closed below
    with file:
        yield file


def files_at(address: str) -> list[tuple[str, str]]:
    """The files in a folder, or those that a pattern with * matches: their names from that folder, and their
    addresses, by name. Raises MediaError if there is nothing.
    """
    files, path = _filesystem(address)
    with told(address):
        found = files.glob(path) if "*" in path else files.find(path)
        if not found:
            raise FileNotFoundError("there is nothing")
    root = path.partition("*")[0].rpartition("/")[0] if "*" in path else path
    whole = files.unstrip_protocol if is_remote(address) else str
    return [(posixpath.relpath(each, root), whole(each)) for each in sorted(found)]


@contextmanager
def told(address: str) -> Iterator[None]:
    """What goes wrong in the block is a MediaError; every file system raises errors of its own."""
    try:
        yield
    except WordsightError:
        raise
    except Exception as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise MediaError(f"cannot read {address}: {why}; {READABLE}") from error


def _filesystem(address: str) -> tuple[Any, str]:
    """The file system of an address, and its path there. Raises MediaError if a package is missing."""
    try:
        found: tuple[Any, str] = import_module("fsspec.core").url_to_fs(address)
    except ImportError as error:
        raise MediaError(
            f"reading {address} needs a package that is not installed ({error}): "
            "pip install 'wordsight[remote]' brings those of s3:// and gs://"
        ) from error
    except Exception as error:
        raise MediaError(f"cannot read {address}: {error}; {READABLE}") from error
    return found
