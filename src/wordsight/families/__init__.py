"""Model families: one file per Hugging Face `model_type`, found by its name."""

from __future__ import annotations

import sys
from importlib import import_module

from wordsight import plugins
from wordsight.errors import UsageError
from wordsight.families.base import Family

__all__ = ["Family", "family", "names"]


def names() -> list[str]:
    """The model types that are supported."""
    return plugins.names(sys.modules[__name__])


def family(model_type: str) -> Family:
    """The family of this `model_type`."""
    if model_type not in names():
        raise UsageError(
            f"model type {model_type!r} is not supported: expected one of {', '.join(names())}; "
            "CONTRIBUTING.md says how to add one"
        )
    found: Family = import_module(f"wordsight.families.{model_type}").FAMILY
    return found
