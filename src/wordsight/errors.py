"""Errors that are the user's to fix: one sentence each, saying what was given, what was expected, what to
do.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

LONGEST = 60  # characters of a value that an error repeats
ENDLESS = re.compile(r"[^\s;]{500,}")  # no word or path, but something that was given


class WordsightError(Exception):
    """Base of every error that the command line shows as one sentence; this one exits with 1.

    Whatever the message repeats of what was given, it is one line, and endless words are cut. `kind` is what
    `--json` calls it.
    """

    exit_code = 1
    kind = "failure"

    def __init__(self, message: str) -> None:
        line = " ".join(part.strip() for part in message.splitlines())
        super().__init__(ENDLESS.sub(lambda word: f"{word[0][:LONGEST]}...", line))


class UsageError(WordsightError, ValueError):
    """The input cannot be used as given: a wrong option or a wrong combination of them. Exits with 2."""

    exit_code = 2
    kind = "usage"


class MediaError(UsageError):
    """A picture or video cannot be used: there is none, it is damaged, or of a kind that is not read."""

    kind = "media"


class Note(UserWarning):
    """What a result depends on that was not asked for."""


class MediaNote(Note):
    """What had to be assumed about a picture or video, such as which of its values is white."""


class ModelNote(Note):
    """What a model differs in from what was expected, such as from the one that a codebook was built for."""


class ModelError(UsageError):
    """A model cannot be used: there is no such checkpoint, it is damaged, or it cannot do what is asked."""

    kind = "model"


class FileError(UsageError):
    """A file or folder of ours cannot be read or written: a codebook, evidence, results, a report."""

    kind = "file"


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that does not exist, with the nearest one that does."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UsageError(f"unknown {kind} {shown(name)}: {hint}choose from {', '.join(names)}")


def shown(value: Any) -> str:
    """A value as an error repeats it: its repr, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return f"a number of {value.bit_length()} bits"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


@contextmanager
def located(place: str) -> Iterator[None]:
    """Errors raised in the block begin with where it was."""
    try:
        yield
    except WordsightError as error:
        raise type(error)(f"{place}: {error}") from error
