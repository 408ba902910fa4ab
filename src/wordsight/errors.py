"""Errors that are the user's to fix: one sentence each, saying what was given, what was expected, what to
do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WordsightError(Exception):
    """Base of every error that the command line shows as one sentence; this one exits with 1.

    `kind` is what `--json` calls it.
    """

    exit_code = 1
    kind = "failure"


class UsageError(WordsightError, ValueError):
    """The input cannot be used as given: a wrong option or a wrong combination of them. Exits with 2."""

    exit_code = 2
    kind = "usage"


class MediaError(UsageError):
    """A picture or video cannot be used: there is none, it is damaged, or of a kind that is not read."""

    kind = "media"


class MediaNote(UserWarning):
    """What had to be assumed about a picture or video, such as which of its values is white."""


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
    return UsageError(f"unknown {kind} {name!r}: {hint}choose from {', '.join(names)}")
