"""Pruners: one file per method; the file name is the name, as in `--pruner divprune:keep=0.2`."""

from __future__ import annotations

import sys

from wordsight._utils import registry
from wordsight.pruners.base import Pruner
from wordsight.pruners.choice import is_choice

SHARED = ("base", "book", "choice", "layerwise", "scopes", "scorer")  # files that are no method
BEST_FIRST = ("scope:alpha=0.0", "divprune", "cls_topk", "codebook")  # by default shown: docs/results.md


def names() -> list[str]:
    """Every pruner there is."""
    return registry.names(sys.modules[__name__])


def make(spec: str) -> Pruner:
    """The pruner of a SPEC: `name` or `name:option=value,option=value`; `name@published` is the method as its
    authors have released it, with options or without; `choice.json` is what `recommend --export` wrote.
    """
    return Pruner.load(spec) if is_choice(spec) else registry.make(sys.modules[__name__], spec, Pruner)
