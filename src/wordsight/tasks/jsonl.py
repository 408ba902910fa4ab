"""jsonl: questions of your own, one JSON object a line, as in `--task questions.jsonl`.

    {"image": "street.jpg", "question": "what color is the car?", "answer": ["red", "dark red"]}

image     a path, or a list of paths, from the folder of the file; or instead
video     a path, with `frames` (how many) or `fps` beside it, 8 frames by default
question  the text
answer    the words that are right, whatever their case and punctuation, or a list of several such
type, id  if wanted: questions of a type are counted together; an id is for your own use
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal

from wordsight.errors import UsageError, unknown
from wordsight.media.images import load_picture
from wordsight.media.video import Video, is_video
from wordsight.tasks.base import Example, Task, words

FIELDS = ("image", "video", "frames", "fps", "question", "answer", "type", "id")
SEED = "wordsight"  # of the split


@dataclass(kw_only=True)
class Jsonl(Task):
    """path: the file. About half of its pictures are the validation split, the others the test split; without
    a split it is all of them.

    A hash of its path decides for each picture, so that it stays where it is when lines are added; pictures
    that share a question go together. All lines are checked when the task is made, and whether their files
    are there; `examples` opens the pictures that are asked about, before the model sees any of them.
    """

    max_new_tokens: ClassVar[int] = 32
    split: Literal["all", "validation", "test"] = "all"  # type: ignore[assignment]  # one more than others have
    path: str
    _lines: list[_Line] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        lines = _read(Path(self.path))
        splits = _splits(lines)
        self._lines = [line for line in lines if self.split in ("all", splits[line.paths[0]])]
        if not self._lines:
            raise UsageError(
                f"{self.path}: its {self.split} split is empty; a hash of their paths splits pictures in "
                f"half, and {len(splits)} are too few: ten or more are enough"
            )

    def examples(self) -> Iterator[Example]:
        together: dict[str, list[_Line]] = {}
        for line in self._lines:
            together.setdefault(line.example.picture_id, []).append(line)
        for lines in together.values():
            with _place(self.path, lines[0].number):
                _check_decodes(lines[0].example.images)
            for line in lines:
                yield replace(line.example, source=f"{self.path}, line {line.number}")


@dataclass(frozen=True)
class _Line:
    """A line of the file: its number, and the paths in it, as they are told apart."""

    number: int
    paths: tuple[str, ...]
    example: Example


@dataclass(frozen=True)
class _Film(Sequence[Video]):
    """One video, decoded when it is looked at: the frames of hundreds do not fit into memory."""

    path: str
    frames: int | None
    fps: float | None

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: Any) -> Any:
        return (_decoded(self.path, self.frames, self.fps),)[index]


@lru_cache(maxsize=1)  # questions about one video come together
def _decoded(path: str, frames: int | None, fps: float | None) -> Video:
    return Video.open(path, frames=frames, fps=fps)


def _check_decodes(images: Any) -> None:
    for item in [images] if isinstance(images, str) else images:
        if isinstance(item, str):
            load_picture(item)


def _read(path: Path) -> list[_Line]:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(
            f"cannot read {path}: {reason}; expected questions, one JSON object a line"
        ) from error
    lines = []
    for number, row in enumerate(text.split("\n"), 1):
        if row.strip():
            with _place(path, number):
                lines.append(_line(number, _object(row), path.parent))
    if not lines:
        raise UsageError(f"{path} is empty; expected questions, one JSON object a line")
    return lines


@contextmanager
def _place(path: str | Path, number: int) -> Iterator[None]:
    """Errors raised in the block say in which line of which file."""
    try:
        yield
    except UsageError as error:
        raise type(error)(f"{path}, line {number}: {error}") from error


def _object(text: str) -> dict[str, Any]:
    """The fields of a line, all of them known, none of them missing."""
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"this is not JSON ({error.msg} at character {error.pos + 1})") from error
    if not isinstance(row, dict):
        raise UsageError(f"expected a JSON object, as {{...}}; got {text.strip()[:40]!r}")
    for key in row:
        if key not in FIELDS:
            raise unknown("field", key, FIELDS)
    if missing := [key for key in ("question", "answer") if key not in row]:
        raise UsageError(f"field {missing[0]!r} is missing")
    if ("image" in row) == ("video" in row):
        raise UsageError("expected field 'image' or field 'video', one of the two")
    return row


def _line(number: int, row: dict[str, Any], folder: Path) -> _Line:
    kind = "image" if "image" in row else "video"
    written = _texts(row, kind) if kind == "image" else [_text(row, kind)]
    paths = tuple(Path(os.path.normpath(path)).as_posix() for path in written)
    for path in paths:
        if not (folder / path).is_file():
            raise UsageError(f"no such {kind}: {folder / path}")
        if kind == "image" and is_video(path):
            raise UsageError(f"{path} is a video; name it in field 'video'")
    frames, fps = _rate(row)
    files = [str(folder / path) for path in paths]
    rate = "".join(f" {key}={row[key]}" for key in ("frames", "fps") if key in row)
    first, *others = _texts(row, "answer")
    if silent := [answer for answer in (first, *others) if not words(answer)]:
        raise UsageError(f"an answer needs a letter or a digit to be compared by; got {silent[0]!r}")
    example = Example(
        images=_Film(files[0], frames, fps) if kind == "video" else files if len(files) > 1 else files[0],
        picture_id=", ".join(paths) + rate,
        question=_text(row, "question"),
        answer=first,
        type=_text(row, "type") if "type" in row else "question",
        others=tuple(others),
    )
    return _Line(number, paths, example)


def _text(row: dict[str, Any], key: str) -> str:
    if not isinstance(row[key], str) or not row[key].strip():
        raise UsageError(f"field {key!r} must be text, in quotes; got {json.dumps(row[key])}")
    return str(row[key])


def _texts(row: dict[str, Any], key: str) -> list[str]:
    """The texts of a field that holds one or a list of them."""
    given = row[key] if isinstance(row[key], list) else [row[key]]
    if not given:
        raise UsageError(f"field {key!r} is an empty list")
    return [_text({key: item}, key) for item in given]


def _rate(row: dict[str, Any]) -> tuple[int | None, float | None]:
    """How many frames of a video, or how many a second."""
    frames, fps = row.get("frames"), row.get("fps")
    if (frames is not None or fps is not None) and "video" not in row:
        raise UsageError("fields 'frames' and 'fps' are for videos")
    if frames is not None and fps is not None:
        raise UsageError("expected field 'frames' or field 'fps', not both")
    if frames is not None and (type(frames) is not int or frames < 1):
        raise UsageError(f"field 'frames' must be a whole number from 1 on, got {json.dumps(frames)}")
    if fps is not None and (type(fps) not in (int, float) or not fps > 0):
        raise UsageError(f"field 'fps' must be a number above 0, got {json.dumps(fps)}")
    return frames, fps


def _splits(lines: list[_Line]) -> dict[str, str]:
    """The split of every path; those of one line are in the same, and so are those of lines that share
    one.
    """
    parent: dict[str, str] = {}

    def root(path: str) -> str:
        while parent.setdefault(path, path) != path:
            parent[path] = path = parent[parent[path]]
        return path

    for line in lines:
        for path in line.paths:
            first, second = sorted((root(line.paths[0]), root(path)))
            parent[second] = first
    odd = {path: sha256(f"{SEED} {root(path)}".encode()).digest()[0] % 2 for path in parent}
    return {path: "test" if is_odd else "validation" for path, is_odd in odd.items()}
