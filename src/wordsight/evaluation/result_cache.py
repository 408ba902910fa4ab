"""Cells: what a comparison has measured so far, kept on disk, so that a killed run goes on where it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wordsight._utils.files import replacing
from wordsight.errors import UsageError


@dataclass(frozen=True)
class RunResult:
    """What one pruner, or none, made of one task: all that a row of the results is computed from.

    scores       of every question, mean over seeds.
    tokens_kept  visual tokens read, mean over questions and seeds.
    rescued      pictures of which a threshold would have dropped every token.
    """

    scores: list[float]
    tokens_kept: float
    rescued: int = 0
    timing: dict[str, Any] | None = None


@dataclass(frozen=True)
class ResultCache:
    """Finished cells, one file each in `folder`; without a folder, none is kept.

    `made_with` is what has to be the same for all of them. Raises UsageError if it is not: two runs are never
    mixed.
    """

    folder: Path | None = None
    made_with: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in sorted(self.folder.glob("*.json")) if self.folder else ():
            self._read(path, self.made_with)

    def cell(
        self, place: Mapping[str, Any], made_with: Mapping[str, Any], measure: Callable[[], RunResult]
    ) -> RunResult:
        """The cell that was finished at this place, or the one that is measured now.

        `made_with` is what a cell found there must have been made with, beside what holds for all.
        """
        if not self.folder:
            return measure()
        path = self.folder / f"{_digest(place)}.json"
        expected = {**self.made_with, **made_with}
        if path.is_file():
            return RunResult(**self._read(path, expected)["cell"])
        cell = measure()
        with replacing(path) as draft:
            draft.write_text(json.dumps({"place": place, "made_with": expected, "cell": asdict(cell)}))
        return cell

    def _read(self, path: Path, expected: Mapping[str, Any]) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(path.read_text())
            known = found["made_with"]
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(
                f"{path} is damaged ({error}); delete it and run the same command again"
            ) from error
        wrong = [name for name in expected if known.get(name) != expected[name]]
        if wrong:
            told = "; ".join(f"{name} was {known.get(name)}, is {expected[name]}" for name in wrong)
            raise UsageError(
                f"{path.parent} holds unfinished results of another run ({told}): delete it to start anew, "
                "or write to another file"
            )
        return found


@contextmanager
def cache_beside(out: Path | None) -> Iterator[Path | None]:
    """The folder for the cells of a results file, gone once the block ends well: then the file has it all.
    None where no file is to be written.
    """
    folder = Path(f"{out}.cells") if out else None
    yield folder
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


def _digest(place: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(place, sort_keys=True).encode()).hexdigest()[:16]
