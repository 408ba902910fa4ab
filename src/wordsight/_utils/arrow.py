"""What pyarrow reads: parquet, and the folders that `save_to_disk` of `datasets` writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from wordsight.errors import UsageError


@contextmanager
def pyarrow_for(path: str | Path, kind: str) -> Iterator[Any]:
    """pyarrow, to read a file of this kind. Raises UsageError if it is not installed, and if the file turns
    out to be damaged.
    """
    if find_spec("pyarrow") is None:
        raise UsageError(f"reading {path} needs pyarrow: pip install 'wordsight[report]'")
    arrow = import_module("pyarrow")
    try:
        yield arrow
    except UsageError:
        raise
    except (arrow.ArrowException, OSError, ValueError) as error:
        if getattr(error, "errno", None):  # the file could not be opened
            raise
        raise UsageError(f"{path} is damaged or no {kind} ({error})") from error


def is_saved_dataset(path: Path) -> bool:
    """Whether this is a folder of a data set, or of its splits."""
    try:
        return path.is_dir() and any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))
    except (OSError, ValueError):  # too long to be a path, say
        return False


def saved_dataset_files(path: Path) -> list[Path]:
    """The Arrow streams of a saved data set, in order. Raises UsageError if it is damaged, or has splits of
    which one has to be chosen.
    """
    if (path / "dataset_dict.json").is_file():
        splits = sorted(each.name for each in path.iterdir() if (each / "state.json").is_file())
        if len(splits) != 1:
            raise UsageError(
                f"{path} has the splits {', '.join(splits) or '(none)'}; name one of them, as {path}/NAME"
            )
        path = path / splits[0]
    try:
        state = json.loads((path / "state.json").read_text("utf-8"))
        return [path / Path(each["filename"]).name for each in state["_data_files"]]
    except (ValueError, LookupError, TypeError) as error:
        raise UsageError(f"{path} is damaged or no saved data set ({error})") from error
