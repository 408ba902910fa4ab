"""Sources: where many pictures come from, listed without reading them.

A folder of pictures; a list of their paths, in Python or in a .txt or .jsonl file; .parquet files or
WebDataset's .tar files, or a folder of these; what `save_to_disk` of `datasets` wrote; and all of it at an
address that fsspec opens.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np

from wordsight._utils.arrow import is_saved_dataset, saved_dataset_files
from wordsight.errors import MediaError, located, shown, unknown
from wordsight.media.addresses import beside, files_at, is_remote, open_address, told
from wordsight.media.containers import CONTAINERS, count_in, is_container, is_table, pictures_in
from wordsight.media.images import LeftOut, is_hidden, walk_pictures, why_no_picture, without_scheme
from wordsight.media.picture_files import PictureFile, StoredPicture

LISTS = (".jsonl", ".txt")
FIELDS = ("image", "image_path", "path", "file_name")  # of a line of .jsonl; the first that is there counts
EXPECTED = (
    f"a folder of pictures, a file ending in {', '.join((*LISTS, *CONTAINERS))}, or what `save_to_disk` of "
    "`datasets` wrote"
)
Files = Iterable[tuple[str, str]]  # their names and addresses


@dataclass(frozen=True)
class Source:
    """Pictures that are listed whenever it is iterated over, always in the same order; `count` is None where
    only listing them tells.
    """

    name: str
    count: int | None
    pictures: Callable[[], Iterator[PictureFile]]

    def __iter__(self) -> Iterator[PictureFile]:
        return self.pictures()

    def first(self, count: int | None) -> Source:
        """The first so many of them; all, if that is None."""
        if count is None:
            return self
        total = None if self.count is None else min(count, self.count)
        return replace(self, count=total, pictures=partial(_first, self.pictures, count))


def open_source(
    given: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], column: str | None = None
) -> Source:
    """The pictures that a path, an address or a list of them names. `column` says which one of a table, or
    which field of a .jsonl, has them; by default the one that holds pictures.

    No picture is read. Raises UsageError if there is none, and where names and headers tell that one is
    missing or there twice, that a file is damaged, or that there is nothing to have a column.
    """
    if not isinstance(given, (str, os.PathLike)):
        name, files = (
            "the list",
            _checked(partial(_paths, tuple(os.fspath(path) for path in given)), "the list"),
        )
    else:
        name = os.fspath(given)
        files = _files(without_scheme(name), column)
    pictures = partial(_pictures, files, column)
    if next(pictures(), None) is None:
        raise MediaError(f"no pictures in {name}: expected {EXPECTED}")
    in_tables = (is_table(address) for _, address in files())
    if column is not None and not (name.lower().endswith(".jsonl") or any(in_tables)):
        raise MediaError(
            f"column is {shown(column)}, and the pictures of {name} are in no table; leave it out"
        )
    return Source(name, _count(files(), column), pictures)


def _first(pictures: Callable[[], Iterator[PictureFile]], count: int) -> Iterator[PictureFile]:
    return islice(pictures(), count)


def _pictures(files: Callable[[], Files], column: str | None) -> Iterator[PictureFile]:
    for name, address in files():
        if is_container(address):
            yield from pictures_in(name, address, column)
        else:
            yield StoredPicture(name, address)


def _count(files: Files, column: str | None) -> int | None:
    """How many pictures there are, None if only listing them tells; every file is looked at."""
    total, is_known = 0, True
    for _, address in files:
        count = count_in(address, column) if is_container(address) else 1
        total, is_known = total + (count or 0), is_known and count is not None
    return total if is_known else None


def _files(given: str, field: str | None) -> Callable[[], Files]:
    """The files that a path or an address names, listed at every call."""
    if os.path.isdir(given):
        return _folder(Path(given))
    ending = os.path.splitext(given)[1].lower()
    if "*" in given:
        return partial(tuple, _of_one_kind(given, files_at(given)))
    if ending in LISTS:
        return _checked(partial(_lines, given, field), given)
    if ending in CONTAINERS:
        return partial(tuple, [(os.path.basename(given), given)])
    if is_remote(given):
        return partial(tuple, _of_one_kind(given, files_at(given)))
    if os.path.isfile(given):
        raise MediaError(f"{given} is a file; expected {EXPECTED}")
    raise MediaError(f"no such folder: {given}; expected {EXPECTED}")


def _folder(root: Path) -> Callable[[], Files]:
    if is_saved_dataset(root):
        return partial(tuple, [(file.name, str(file)) for file in saved_dataset_files(root)])
    left_out = LeftOut()
    if sum(1 for _ in walk_pictures(root, left_out)):
        left_out.tell(str(root))
        return partial(_walked, root)
    found = sorted(path for path in root.rglob("*") if path.is_file())
    named = [(path.relative_to(root).as_posix(), str(path)) for path in found]
    return partial(tuple, _of_one_kind(str(root), named))


def _of_one_kind(place: str, found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pictures among files, else the containers; notes say what is left out."""
    left_out, pictures = LeftOut(), []
    for name, address in found:
        if reason := why_no_picture(PurePosixPath(name)):
            left_out.add(reason, name)
        else:
            pictures.append((name, address))
    if not pictures:
        return [
            (name, address)
            for name, address in found
            if is_container(name) and not is_hidden(PurePosixPath(name))
        ]
    left_out.tell(place)
    return pictures


def _walked(root: Path) -> Iterator[tuple[str, str]]:
    for path in walk_pictures(root, LeftOut()):
        yield path.relative_to(root).as_posix(), str(path)


def _paths(given: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for path in given:
        yield path, without_scheme(path)


def _lines(address: str, field: str | None) -> Iterator[tuple[str, str]]:
    """The files that are named in a .txt or .jsonl file, from its folder."""
    is_json = address.lower().endswith(".jsonl")
    with told(address), open_address(address) as file, io.TextIOWrapper(file, "utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if text := line.strip():
                with located(f"{address}, line {number}"):
                    name = _field(text, field) if is_json else text
                yield name, beside(address, without_scheme(name))


def _field(line: str, name: str | None) -> str:
    """The path in a line of .jsonl."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MediaError(f"this is not JSON ({error})") from error
    if not isinstance(fields, dict):
        raise MediaError(f"expected a JSON object, as {{...}}; got {shown(line)}")
    if name is not None and name not in fields:
        raise unknown("field", name, fields)
    value = fields[name] if name else next((fields[each] for each in FIELDS if each in fields), None)
    if not isinstance(value, str) or not value:
        raise MediaError(f"expected a path in field {name or ' or '.join(FIELDS)}; got {shown(line)}")
    return value


def _checked(files: Callable[[], Files], name: str) -> Callable[[], Files]:
    """The same. Raises MediaError if one of the list is not there, or is there twice."""
    gone = (each for each, address in files() if not is_remote(address) and not os.path.isfile(address))
    if (first := next(gone, None)) is not None:
        more = f", and {count} more" if (count := sum(1 for _ in gone)) else ""
        raise MediaError(f"{name}: no such file: {shown(first)}{more}; paths are from the folder of the list")
    # Eight bytes a name: a list may have millions.
    hashes = np.sort(np.fromiter((hash(each) for each, _ in files()), np.int64))
    repeated = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    times = Counter(each for each, _ in files() if repeated and hash(each) in repeated)
    if twice := [each for each, count in times.items() if count > 1]:
        raise MediaError(
            f"{name}: {shown(twice[0])} is there {times[twice[0]]} times; name each picture once"
        )
    return files
