"""Writing files so that nothing half-written replaces something good, and nothing that is read is written.

Everything that this package writes goes through `replacing`, and is checked before the work it comes from.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from wordsight._utils.drafts import draft_beside, swap_in
from wordsight.errors import FileError, WordsightError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a person did nothing wrong about
STREAMS = (1, 2)  # stdout and stderr


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write a file or folder to; it takes the place of `path` if the block ends well.

    Links are followed, devices and pipes are written through, and what is replaced keeps its mode. Raises
    FileError if `path` is no place for it, and WordsightError if writing fails.
    """
    with _writing(path), _copied_to(path) if is_stream(path) else _beside(path) as draft:
        yield draft


def write_first(path: Path, text: str) -> None:
    """Write a file that is not there: of processes that do so at once, the first one's stays, where the file
    system has hard links. Raises as `replacing`.
    """
    place = _place(path)
    with _writing(path):
        place.parent.mkdir(parents=True, exist_ok=True)
        with draft_beside(place) as draft:
            draft.write_text(text, "utf-8")
            _settle(draft)
            try:
                os.link(draft, place)
            except FileExistsError:
                return
            except OSError:
                os.replace(draft, place)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What the system refuses in the block is a WordsightError."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise WordsightError(f"cannot write {path}: {why}; make room or choose another place") from error


def check_file(path: Path, suffixes: Collection[str] = (), apart: Iterable[str | Path] = ()) -> None:
    """Raises FileError if the file could not be written, before the work whose result is to go there.

    Its name has to have one of the suffixes, and it has to be `apart` from what else the command reads or
    writes: not one of those files and folders, nor in one.
    """
    if is_stream(path):
        _check_stream(path)
        return
    if os.path.isdir(path):
        raise FileError(f"cannot write {path}: it is a folder; give the name of a file in it")
    check_suffix(path, suffixes)
    _check_place(path, apart)


def check_folder(path: Path, holds: Collection[str], apart: Iterable[str | Path] = ()) -> None:
    """Raises FileError if the folder could not be written, before the work whose result is to go there.

    If there is one, it must hold nothing but files called as those it `holds`, since it is replaced; and it
    has to be `apart` from what else the command reads or writes: not one of those, nor in one or around one.
    """
    if os.path.exists(path) and not os.path.isdir(path):
        raise FileError(f"cannot write {path}: it is a file; give the name of a folder")
    there = os.listdir(path) if os.path.isdir(path) else []
    if other := sorted(set(there) - set(holds)):
        raise FileError(
            f"cannot write {path}: it holds {other[0]}, which would be gone; choose another folder"
        )
    _check_place(path, apart)


def check_suffix(path: Path, suffixes: Collection[str]) -> None:
    """Raises FileError if what is written would not be what the name says; a device or pipe has no say."""
    if suffixes and path.suffix.lower() not in suffixes and not is_stream(path):
        raise FileError(
            f"cannot write {path}: expected a name that ends in {' or '.join(suffixes)}, as what is written"
        )


def is_stream(path: Path) -> bool:
    """Whether it is a device, a pipe, or the file that stdout or stderr go to: written, never replaced."""
    try:
        there = path.stat()
    except (OSError, ValueError):
        return False
    if stat.S_ISDIR(there.st_mode):
        return False
    return not stat.S_ISREG(there.st_mode) or _standard_stream(there) is not None


def is_stdout(path: Path) -> bool:
    """Whether what is written there comes out of this process's stdout, as by /dev/stdout."""
    return is_stream(path) and os.fspath(path) != os.devnull and _standard_stream(path.stat()) == 1


def _standard_stream(there: os.stat_result) -> int | None:
    """The descriptor of this process that already writes to this file."""
    for number in STREAMS:
        with suppress(OSError):  # closed
            if os.path.samestat(there, os.fstat(number)):
                return number
    return None


def _check_stream(path: Path) -> None:
    kind = path.stat().st_mode
    if stat.S_ISBLK(kind) or stat.S_ISSOCK(kind):
        raise FileError(f"cannot write {path}: it is a {'disk' if stat.S_ISBLK(kind) else 'socket'}")
    if not os.access(path, os.W_OK):
        raise FileError(f"cannot write {path}: it is write-protected; choose another place")


def _check_place(path: Path, apart: Iterable[str | Path]) -> None:
    """Raises FileError if there is no writing there, found out by writing a draft of that name."""
    place = _place(path)
    for other in apart:
        _check_apart(path, place, Path(other))
    if os.path.ismount(place):
        raise FileError(f"cannot write {path}: it is a mount point, never replaced; give a name in it")
    if os.path.exists(place) and not os.access(place, os.W_OK):
        raise FileError(f"cannot write {path}: it is write-protected; choose another place")
    above = next(folder for folder in place.parents if os.path.exists(folder))
    try:
        with draft_beside(above / place.name) as draft:
            new = draft.parent / place.relative_to(above)
            new.parent.mkdir(parents=True, exist_ok=True)
            new.touch()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        kind = WordsightError if getattr(error, "errno", None) in NO_ROOM else FileError
        raise kind(f"cannot write {path}: {why}; choose a place that can be written") from error


def _check_apart(path: Path, place: Path, other: Path) -> None:
    """Raises FileError if what is written would change what is read, or be read as a part of it next time."""
    used = Path(os.path.realpath(other))
    if place == used or (os.path.exists(place) and os.path.exists(used) and place.samefile(used)):
        raise FileError(f"cannot write {path}: the same command uses {other}; give another name")
    if os.path.isdir(used) and used in place.parents:
        raise FileError(
            f"cannot write {path}: it is in {other}, which is used too; choose a place outside it"
        )
    if place in used.parents:
        raise FileError(f"cannot write {path}: {other}, which is used too, is in it; choose another place")


def _place(path: Path) -> Path:
    """Where a name leads to, behind links. Raises FileError if one stands there, or in a folder of it."""
    try:
        place, here = Path(os.path.realpath(path)), Path.cwd()
    except (OSError, ValueError) as error:
        raise FileError(f"cannot write {path}: {error}; give another name") from error
    if place in (here, *here.parents):
        raise FileError(f"cannot write {path}: it is the folder one stands in; give it a name")
    return place


@contextmanager
def _copied_to(path: Path) -> Iterator[Path]:
    """A draft that is copied into a device or pipe at the end."""
    _check_stream(path)
    with TemporaryDirectory() as folder:
        draft = Path(folder) / "draft"
        yield draft
        number = _standard_stream(path.stat())
        # Through stdout itself: another descriptor of its file would have another position in it.
        with draft.open("rb") as whole, open(path if number is None else os.dup(number), "wb") as stream:
            shutil.copyfileobj(whole, stream)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A draft that takes the place of a file or folder at the end."""
    place = _place(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    with draft_beside(place) as draft:
        yield draft
        _keep_modes(draft, place)
        _settle(draft)
        swap_in(draft, place)


def _keep_modes(draft: Path, place: Path) -> None:
    """Give what replaces a file or folder its owner and mode."""
    for new in (draft, *draft.rglob("*")):
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):  # nothing to keep, or no way
            older = (place / new.relative_to(draft)).stat()
            new.chmod(stat.S_IMODE(older.st_mode))
            os.chown(new, older.st_uid, older.st_gid)


def _settle(draft: Path) -> None:
    """Have the disk hold what is put in the place of something good, should the machine stop."""
    for item in (*draft.rglob("*"), draft):
        descriptor = os.open(item, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
