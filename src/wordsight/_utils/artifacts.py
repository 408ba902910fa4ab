"""Artifacts: files of ours that are read again, each with its format and a digest of all that it holds.

Nothing else is believed of a file: whether it is damaged, of another format or of something else is found
out when it is read, and is one sentence that says what to do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, Generic, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from wordsight._utils.files import replacing
from wordsight._utils.records import checked, json_text, parse_json
from wordsight.errors import FileError

T = TypeVar("T")
DIGEST = "digest"  # the field that a record gets in its file: of all others


@dataclass(frozen=True, kw_only=True)
class Artifact(Generic[T]):
    """A kind of record that is read again from a file.

    name     in sentences, as "the config of a codebook".
    record   the TypedDict; it has a field `format`.
    format   the number that is written.
    remedy   what to do about a file that cannot be used, after a colon.
    earlier  formats that are still read, None for files without a number, each with the function that makes
             its record one of today's. Their files need no digest; if there is one it must be right.

    >>> CELL = Artifact(name="a result", record=Cell, format=3, remedy="delete it and run this again")
    >>> with replacing(path) as draft:
    ...     draft.write_text(CELL.text(cell))
    >>> CELL.read(path)
    """

    name: str
    record: type[T]
    format: int
    remedy: str
    earlier: Mapping[int | None, Callable[[dict[str, Any]], Mapping[str, Any]]] = field(default_factory=dict)

    def text(self, record: Mapping[str, Any]) -> str:
        """The record as JSON, with its digest."""
        return json_text(sealed(record)) + "\n"

    def read(self, path: Path) -> T:
        """The record in a JSON file. Raises FileError if it cannot be used."""
        try:
            text = path.read_text("utf-8")
        except (OSError, ValueError) as error:
            raise FileError(
                f"cannot read {path}, which should be {self.name} ({error}): {self.remedy}"
            ) from error
        return self.parse(text, path)

    def parse(self, text: str, where: Path) -> T:
        """The record that `text` made, an earlier one as one of today's. Raises FileError, which names
        `where`, if it cannot be used.
        """
        data = self._parsed(text, where)
        number, digest = data.get("format"), data.pop(DIGEST, None)
        if (number == self.format or digest is not None) and digest != _digest(data):
            raise self.unusable(where, "its content is not what was written, so it is damaged or edited")
        if number != self.format:
            data = dict(self.earlier[number](data)) | {"format": self.format}
        try:
            return checked(self.record, data, where)
        except FileError as error:
            raise FileError(f"{error}: {self.remedy}") from error

    def _parsed(self, text: str, where: Path) -> dict[str, Any]:
        try:
            data = parse_json(text)
        except ValueError as error:
            raise self.unusable(where, str(error)) from error
        if not isinstance(data, dict):
            raise self.unusable(where, "it is a list or a single value")
        number = data.get("format")
        if type(number) not in (int, NoneType) or number not in {self.format, *self.earlier}:
            known = " and ".join(str(each) for each in (*self.earlier, self.format) if each)
            raise FileError(
                f"{where} has format {number}, and this version of wordsight reads {known} of {self.name}: "
                f"{self.remedy}"
            )
        return data

    def unusable(self, where: Path, why: str) -> FileError:
        """The error for a file that is no artifact of this kind."""
        return FileError(f"{where} cannot be used as {self.name} ({why}): {self.remedy}")


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with a digest of it, as its file has it."""
    return {**record, DIGEST: _digest(parse_json(json_text(record)))}


def _digest(data: Any) -> str:
    """Of what JSON holds, however it is laid out."""
    return hashlib.sha256(json_text(data, indent=None, sort_keys=True).encode()).hexdigest()


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """How a record differs in the fields that are expected, "" if it does not: "dtype was a, is b;
    versions.torch was ...", of records in it only what differs.
    """
    return "; ".join(_changes(found, expected, expected))


def _changes(
    found: Mapping[str, Any], expected: Mapping[str, Any], names: Iterable[str], place: str = ""
) -> Iterator[str]:
    for name in names:
        was, now = found.get(name), expected.get(name)
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            yield from _changes(was, now, {**now, **was}, f"{place}{name}.")
        elif was != now:
            yield f"{place}{name} was {was}, is {now}"


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Of names, dtypes, shapes and every byte."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(json_text([name, str(tensor.dtype), list(tensor.shape)], indent=None).encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], text: str | None = None) -> None:
    """A safetensors file, with the text of a record about them in its metadata."""
    metadata = None if text is None else {"record": text}
    path.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata))


def write_folder(root: Path, files: Sequence[str], tensors: Mapping[str, Tensor], text: str) -> None:
    """A folder of two files, both or neither: tensors, and the text of a record about them."""
    with replacing(root) as draft:
        draft.mkdir()
        write_tensors(draft / files[0], tensors)
        (draft / files[1]).write_text(text, "utf-8")


def read_tensors(path: Path, artifact: Artifact[Any]) -> dict[str, Tensor]:
    """The tensors in a safetensors file. Raises FileError if they cannot be read."""
    return read_safetensors(path, artifact.remedy)


def read_safetensors(path: Path, remedy: str) -> dict[str, Tensor]:
    """The tensors in a safetensors file. Raises FileError, which says what to do, if they cannot be read."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  # it is no dict
    except Exception as error:  # safetensors and torch raise whatever they meet in a damaged file
        raise FileError(f"{path} is no safetensors file that can be read ({error}): {remedy}") from error


def read_metadata(path: Path, artifact: Artifact[T]) -> T:
    """The record about the tensors in a safetensors file. Raises FileError if it cannot be used."""
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("record")
    except Exception as error:  # as above
        raise artifact.unusable(path, str(error)) from error
    if text is None:
        raise artifact.unusable(path, "it has no record")
    return artifact.parse(text, path)
