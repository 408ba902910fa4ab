"""Tasks: one file per benchmark; the file name is the name, as in `--task easy_vqa`."""

from __future__ import annotations

import sys

from wordsight._utils import registry
from wordsight.tasks.base import Task
from wordsight.tasks.jsonl import Jsonl

SHARED = ("base",)  # files that are no task


def names() -> list[str]:
    """Every task there is."""
    return registry.names(sys.modules[__name__])


def make(spec: str) -> Task:
    """The task of a SPEC: `name` or `name:option=value,option=value`, or the path of a file that ends in
    .jsonl.
    """
    if spec.endswith(".jsonl") and spec.partition(":")[0] not in names():
        return Jsonl(path=spec)
    return registry.make(sys.modules[__name__], spec, Task)
