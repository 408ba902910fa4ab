"""Result cache: what a comparison has measured so far, on disk, so that a killed run goes on where it was.

What the model said is kept, not how it scored: answers are scored anew when they are read, so that what
counts as right can change. A file is named by all that its answers depend on: what changes is measured again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge
from typing_extensions import NotRequired, TypedDict

from wordsight._utils.artifacts import Artifact
from wordsight._utils.drafts import sweep
from wordsight._utils.files import is_stream, replacing
from wordsight._utils.records import json_text
from wordsight.evaluation.latency import Latency
from wordsight.evaluation.statistics import Resampled
from wordsight.models.fingerprints import Parts
from wordsight.redundancy.measured_with import MeasuredWith

FORMAT = 3
PART_FORMAT = 1


@dataclass(frozen=True)
class RunResult:
    """What one pruner, or none, made of one task: all that a row of the results is computed from.

    scores         of every question, mean over seeds.
    tokens_kept    visual tokens read, mean over questions and seeds.
    drops_all      pictures of which a threshold alone would have dropped every token.
    answers        what was said to every question, for each seed.
    answer_scores  how each of them scored.
    resampled      what they score together, mean over seeds, where that is no mean of the scores.
    """

    scores: list[float]
    tokens_kept: float
    drops_all: int = 0
    timing: Latency | None = None
    answers: list[list[str]] = field(default_factory=list)
    answer_scores: list[list[float]] = field(default_factory=list)
    resampled: Resampled | None = None

    @property
    def score(self) -> float:
        """Of all questions."""
        return self.resampled.value if self.resampled else float(np.mean(self.scores))


class Measured(TypedDict):
    """What was measured of one pruner, or none, on one task."""

    answers: Annotated[list[list[str]], "what was said to every question, for each seed"]
    tokens_kept: Annotated[float, "visual tokens read, mean over questions and seeds", Ge(0)]
    drops_all: Annotated[int, "pictures of which a threshold alone would have dropped every token", Ge(0)]
    timing: Latency | None


class Place(TypedDict):
    """Which result it is; `pruner` is a SPEC, none, resized or blind."""

    model: str
    task: str
    pruner: str
    keep: float | None
    tokens: int | None


class Selection(TypedDict):
    """Which questions of a task are asked; null asks all."""

    limit: Annotated[int | None, "so many, which pictures take turns to ask"]
    pictures: Annotated[int | None, "about the first so many pictures"]


class MadeWith(MeasuredWith):
    """What a result was made with, beside its place: if something of it is another, it is another result."""

    fingerprint: Annotated[str, "of the model"]
    parts: NotRequired[Annotated[Parts | None, "digests of the rest of the model; null if unknown"]]
    timing: Annotated[dict[str, int] | None, "the fields of Timing"]
    questions: Annotated[str, "a digest of questions and of the content of their pictures"]
    count: Annotated[int, "of questions"]
    seeds: int
    max_new_tokens: int
    codebook: Annotated[str | None, "a digest of the prototypes, or of what else the pruner reads from disk"]
    code: Annotated[str | None, "a digest of the file that the pruner is written in"]


class CachedResult(TypedDict):
    """A finished result as a file of the cache holds it."""

    format: int
    place: Place
    made_with: MadeWith
    result: Measured


CACHED = Artifact(
    name="an unfinished result of `wordsight compare`",
    record=CachedResult,
    format=FORMAT,
    remedy="delete it and run the same command again",
)


@dataclass(frozen=True)
class ResultCache:
    """The finished results of a run, one file each in `folder`; without a folder, none is kept.

    Raises FileError if one in the folder is damaged, of another version, or not the one that its name says.
    """

    folder: Path | None

    def __post_init__(self) -> None:
        for path in sorted(self.folder.glob("*.json")) if self.folder else ():
            _read(path)

    def get(self, place: Place, made_with: MadeWith, measure: Callable[[], Measured]) -> Measured:
        """The result that was finished at this place with just that, or the one that is measured now."""
        path = self._path(result_name(place, made_with))
        if path is None:
            return measure()
        if path.is_file():
            return _read(path)["result"]
        result = measure()
        text = CACHED.text({"format": FORMAT, "place": place, "made_with": made_with, "result": result})
        with replacing(path) as draft:
            draft.write_text(text)
        return result

    def has(self, name: str) -> bool:
        """Whether the result of this name is finished."""
        path = self._path(name)
        return path is not None and path.is_file()

    def _path(self, name: str) -> Path | None:
        return self.folder / f"{name}.json" if self.folder else None


def _read(path: Path) -> CachedResult:
    record = CACHED.read(path)
    if path.stem != result_name(record["place"], record["made_with"]):
        raise CACHED.unusable(path, f"it is that of {record['place']['pruner']}, under another name")
    made_with, answers = record["made_with"], record["result"]["answers"]
    if [len(each) for each in answers] != [made_with["count"]] * made_with["seeds"]:
        raise CACHED.unusable(path, "it has not as many answers as questions")
    return record


class PartRecord(TypedDict):
    """What results are missing yet once one part of a comparison is measured."""

    format: int
    part: Annotated[int, "the first is 0"]
    parts: Annotated[int, "how many there are"]
    missing: list[Place]


def cache_folder(out: Path) -> Path:
    """The folder for the cache of a results file."""
    return Path(f"{out}.cells")


@contextmanager
def cache_beside(out: Path | None) -> Iterator[Path | None]:
    """The folder for the cache of a results file, gone once the block ends well: then the file has it all.
    None where no file is to be written.
    """
    folder = cache_folder(out) if out and not is_stream(out) else None
    yield folder
    if folder:
        sweep(folder)
        for path in folder.glob("*.json"):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # there is none, or something else is in it
            folder.rmdir()


def result_name(place: Place, made_with: MadeWith) -> str:
    """What the file of a result is called: a digest of all that tells it from others."""
    text = json_text([place, made_with], indent=None, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
