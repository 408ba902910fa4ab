"""Writing files so that nothing half-written ever replaces something good."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from wordsight.errors import FileError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write a file or folder to; it takes the place of `path` if the block ends well.

    Raises FileError if there is no room for it.
    """
    with _workspace(path) as folder:
        try:
            yield folder / path.name
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise FileError(
                f"cannot write {path}: {error.strerror}; make room or choose another place"
            ) from error
        _open_up(folder / path.name)
        _swap(folder / path.name, path, folder / "old")


def check_file(path: Path) -> None:
    """Raises FileError if the file could not be written, before the work whose result is to go there."""
    if path.is_dir():
        raise FileError(f"cannot write {path}: it is a folder; give the name of a file in it")
    with _workspace(path):
        pass


def check_folder(path: Path) -> None:
    """Raises FileError if the folder could not be written, before the work whose result is to go there."""
    if path.exists() and not path.is_dir():
        raise FileError(f"cannot write {path}: it is a file; give the name of a folder")
    with _workspace(path):
        pass


@contextmanager
def _workspace(path: Path) -> Iterator[Path]:
    """A fresh folder beside `path`, gone when the block ends."""
    if not path.name:
        raise FileError(f"cannot write {path}: it is the folder one stands in; give it a name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise FileError(
            f"cannot write {path}: {error.strerror}; choose a folder that can be written"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _open_up(draft: Path) -> None:
    """Let others read what was written as far as other files of this process: some writers make theirs
    private.
    """
    usual = draft.with_name(f".{draft.name}")
    usual.touch()
    mode = usual.stat().st_mode
    for file in draft.rglob("*") if draft.is_dir() else [draft]:
        if file.is_file():
            file.chmod(mode)


def _swap(draft: Path, path: Path, old: Path) -> None:
    try:
        if draft.is_dir() and path.is_dir():
            os.replace(path, old)
        os.replace(draft, path)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}; choose another place") from error
    finally:
        if old.exists() and not path.exists():
            os.replace(old, path)
