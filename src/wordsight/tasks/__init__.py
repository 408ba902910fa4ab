"""Tasks: one file per benchmark; the file name is the name, as in `--task easy_vqa`."""

from __future__ import annotations

import sys
from pathlib import Path

from wordsight._utils import registry
from wordsight.errors import UsageError
from wordsight.tasks import question_files
from wordsight.tasks.base import Task
from wordsight.tasks.questions import Questions

SHARED = ("base", "digest", "question_files", "rendered", "scoring")  # files that are no task
EARLIER = {"jsonl": "questions"}  # what tasks were called in SPECs that are still read


def names() -> list[str]:
    """Every task there is."""
    return registry.names(sys.modules[__name__])


def make(spec: str) -> Task:
    """The task of a SPEC: `name` or `name:option=value,option=value`, or the path of a file of questions."""
    name, colon, options = spec.partition(":")
    if name in EARLIER:
        return make(f"{EARLIER[name]}{colon}{options}")
    if name not in names():
        if question_files.is_readable(Path(spec)):
            return Questions(path=spec)
        if not colon and _looks_like_a_path(spec):
            raise UsageError(
                f"{spec} is no task, and no file of questions by its name: they are read from files that end "
                f"in {question_files.KINDS}"
            )
    return registry.make(sys.modules[__name__], spec, Task)


def _looks_like_a_path(spec: str) -> bool:
    return "/" in spec or "." in spec or len(spec) > 100
