"""Writing files so that nothing half-written ever replaces something good."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from wordsight.errors import UsageError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write a file (or folder) to; it takes the place of `path` when the block ends without an
    error.
    """
    if not path.name:
        raise UsageError(f"cannot write {path}: it is the folder one stands in; give it a name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        workspace = Path(mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}; choose a folder that can be written"
        ) from error
    try:
        draft = workspace / path.name
        yield draft
        _swap(draft, path, workspace / "old")
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def _swap(draft: Path, path: Path, old: Path) -> None:
    try:
        if draft.is_dir() and path.is_dir():
            os.replace(path, old)
        os.replace(draft, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another place") from error
    finally:
        if old.exists() and not path.exists():
            os.replace(old, path)
