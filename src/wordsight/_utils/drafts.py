"""Drafts: what is being written lies in a locked folder beside its place until it is whole.

The lock tells what a killed process has left, which goes, from what a living one is writing, on this machine
or on another that shares the file system; ids of processes are used again, locks are not.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

PREFIX = ".wordsight-"  # with mkdtemp's eight letters: no longer than a name may be, whatever is written
LOCK, NEW, OLDER = "lock", "new", "older"  # what lies in a draft's folder
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)
NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
AT_FDCWD, EXCHANGE = -100, 2  # of Linux; macOS calls the second one RENAME_SWAP


@contextmanager
def draft_beside(place: Path) -> Iterator[Path]:
    """A path of the same name in a fresh folder beside `place`, which is gone when the block ends; those that
    killed processes left there go first.
    """
    sweep(place.parent)
    folder, lock = _locked_folder(place.parent)
    try:
        (folder / NEW).mkdir()
        yield folder / NEW / place.name
    finally:
        try:
            _discard(folder)
        except BaseException:  # Ctrl-C in the midst of it
            _discard(folder)
            raise
        finally:
            if lock is not None:
                os.close(lock)


def sweep(parent: Path) -> None:
    """Remove the drafts in a folder whose processes are gone, and bring back what they had set aside."""
    for folder in parent.glob(f"{PREFIX}{'?' * 8}"):
        with suppress(OSError):
            folder.rmdir()  # killed before it was locked; any other is not empty
        with suppress(OSError):  # it is locked, or of another user, or cannot be locked: not ours to remove
            lock = _take(folder, os.O_RDWR)
            try:
                _restore(folder)
                _remove(folder)
            finally:
                os.close(lock)


def swap_in(draft: Path, place: Path) -> None:
    """Put a whole draft in its place, where the older one or the new one is found at any instant.

    Where the system cannot exchange two folders at once, there is none between two renames; the older one
    comes back with the next `sweep`, should the process be killed there.
    """
    if not (draft.is_dir() and place.is_dir()):
        try:
            os.replace(draft, place)
            return
        except OSError as error:
            if error.errno not in NOT_EMPTY:
                raise  # otherwise another process has put a folder there since it was looked for
    if not _exchange(draft, place):
        _swap_in_two_steps(draft, place)


def _locked_folder(parent: Path) -> tuple[Path, int | None]:
    """A new folder and the descriptor that holds its lock; None where the file system has no locks."""
    while True:
        folder = Path(mkdtemp(prefix=PREFIX, dir=parent))
        try:
            return folder, _take(folder, os.O_RDWR | os.O_CREAT)
        except BaseException as error:
            if isinstance(error, OSError) and error.errno in NO_LOCKS:
                return folder, None
            _discard(folder)
            if not isinstance(error, (BlockingIOError, FileNotFoundError)):
                raise  # any other: another process swept it before it was locked


def _take(folder: Path, flags: int) -> int:
    """A descriptor that holds the lock of a draft, until it is closed or the process ends.

    Raises BlockingIOError if another has it, FileNotFoundError if there is none.
    """
    lock = os.open(folder / LOCK, flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(lock), os.stat(folder / LOCK)):
            raise FileNotFoundError(errno.ENOENT, "swept in between", str(folder))
    except BaseException:
        os.close(lock)
        raise
    return lock


def _restore(folder: Path) -> None:
    """Bring back what a killed process had set aside, unless the new one has its place."""
    for older in (folder / OLDER).glob("*"):
        if not (place := folder.parent / older.name).exists():
            os.rename(older, place)


def _discard(folder: Path) -> None:
    """Remove a draft as far as it can be; what is left, the next run sweeps."""
    with suppress(OSError):
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a draft, its lock last: without one it would not be swept, were this to be stopped."""
    for item in folder.iterdir():
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        elif item.name != LOCK:
            item.unlink()
    (folder / LOCK).unlink(missing_ok=True)
    folder.rmdir()


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places at once; False where system or file system cannot."""
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    sys.audit("os.rename", one, other, -1, -1)
    try:
        if sys.platform == "darwin":
            failed = library.renamex_np(*names, EXCHANGE)
        else:
            failed = library.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], EXCHANGE)
    except AttributeError:  # a C library that is older than the call
        return False
    number = ctypes.get_errno()
    if failed and number not in NO_EXCHANGE:
        raise OSError(number, os.strerror(number), str(other))
    return not failed


def _swap_in_two_steps(draft: Path, place: Path) -> None:
    older = draft.parent.with_name(OLDER) / place.name
    older.parent.mkdir()
    try:
        os.rename(place, older)
        os.rename(draft, place)
    finally:
        if older.exists() and not place.exists():
            os.rename(older, place)
