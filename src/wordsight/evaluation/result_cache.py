"""Result cache: what a comparison has measured so far, on disk, so that a killed run goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from typing_extensions import TypedDict

from wordsight._utils.drafts import sweep
from wordsight._utils.files import is_stream, replacing
from wordsight._utils.records import checked
from wordsight.errors import FileError
from wordsight.evaluation.latency import Latency

FORMAT = 2


@dataclass(frozen=True)
class RunResult:
    """What one pruner, or none, made of one task: all that a row of the results is computed from.

    scores       of every question, mean over seeds.
    tokens_kept  visual tokens read, mean over questions and seeds.
    drops_all    pictures of which a threshold alone would have dropped every token.
    """

    scores: list[float]
    tokens_kept: float
    drops_all: int = 0
    timing: Latency | None = None


class Place(TypedDict):
    """Which result it is; `pruner` is a SPEC, none, resized or blind."""

    model: str
    task: str
    pruner: str
    keep: float | None
    tokens: int | None


class RunSettings(TypedDict):
    """What all results of a run were made with."""

    versions: dict[str, str]
    limit: int | None
    timing: Annotated[dict[str, int] | None, "the fields of Timing"]


class MadeWith(RunSettings):
    """What a result was made with, beside its place: if something of it is another, it is of another run."""

    fingerprint: Annotated[str, "of the model"]
    dtype: str
    device: str
    questions: Annotated[str, "a digest of pictures, questions and answers"]
    codebook: Annotated[str | None, "a digest of the prototypes"]


class CachedResult(TypedDict):
    """A finished result as a file of the cache holds it."""

    format: int
    place: Place
    made_with: MadeWith
    result: RunResult


@dataclass(frozen=True)
class ResultCache:
    """The finished results of a run, one file each in `folder`; without a folder, none is kept.

    Raises FileError if those in the folder were made with other settings: two runs are never mixed.
    """

    folder: Path | None
    settings: RunSettings

    def __post_init__(self) -> None:
        for path in sorted(self.folder.glob("*.json")) if self.folder else ():
            self._read(path, self.settings)

    def get(self, place: Place, made_with: MadeWith, measure: Callable[[], RunResult]) -> RunResult:
        """The result that was finished at this place, or the one that is measured now.

        Raises FileError if what was finished there was made with something else.
        """
        if not self.folder:
            return measure()
        path = self.folder / f"{_digest(place)}.json"
        if path.is_file():
            return self._read(path, made_with)["result"]
        result = measure()
        record = {"format": FORMAT, "place": place, "made_with": made_with, "result": asdict(result)}
        with replacing(path) as draft:
            draft.write_text(json.dumps(record))
        return result

    def _read(self, path: Path, expected: Mapping[str, object]) -> CachedResult:
        record = _record(path)
        made_with: Mapping[str, object] = record["made_with"]
        wrong = [
            f"{name} was {made_with[name]}, is {value}"
            for name, value in expected.items()
            if made_with[name] != value
        ]
        if wrong:
            raise _of_another(path.parent, f"run ({'; '.join(wrong)})")
        return record


def _record(path: Path) -> CachedResult:
    try:
        data: Any = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise _of_another(path.parent, "version of wordsight")
    try:
        return checked(CachedResult, data, "the record in it")
    except FileError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> FileError:
    return FileError(f"{path} is damaged ({error}); delete it and run the same command again")


def _of_another(folder: Path, what: str) -> FileError:
    return FileError(
        f"{folder} holds unfinished results of another {what}: delete it to start anew, or write to another "
        "file"
    )


@contextmanager
def cache_beside(out: Path | None) -> Iterator[Path | None]:
    """The folder for the cache of a results file, gone once the block ends well: then the file has it all.
    None where no file is to be written.
    """
    folder = Path(f"{out}.cells") if out and not is_stream(out) else None
    yield folder
    if folder:
        sweep(folder)
        for path in folder.glob("*.json"):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # there is none, or something else is in it
            folder.rmdir()


def _digest(place: Place) -> str:
    return hashlib.sha256(json.dumps(place, sort_keys=True).encode()).hexdigest()[:16]
