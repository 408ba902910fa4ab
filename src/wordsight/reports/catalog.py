"""Catalogs: what there is to choose from, a line each, read from the code itself."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Annotated, Any

from rich.table import Table as RichTable
from rich.text import Text
from typing_extensions import TypedDict

from wordsight import pruners, tasks
from wordsight._utils import registry
from wordsight.pruners.base import Pruner
from wordsight.pruners.layerwise import LayerPruner
from wordsight.redundancy.criteria import CRITERIA, DEFAULT, Condition, Quantile
from wordsight.redundancy.presets import PRESETS
from wordsight.tasks.base import Task

FORMAT = 1
FITTED = ("codebook", "scorer")  # options that name what was made for one model
URL = re.compile(r"https://\S+[^\s.,:)]")
PAPER = "https://arxiv.org/abs/2503.20540"  # of criteria


class Choice(TypedDict):
    """Something to choose by its name, which may be followed by options: `name:option=value`."""

    name: str
    about: str
    options: Annotated[dict[str, str | None], "what each is if it is not given; null has to be given"]
    needs: Annotated[
        list[str],
        "layers of the language model, a codebook or scorer of the model, scores of the pictures, signals of "
        "the vision tower, the question",
    ]
    sources: Annotated[list[str], "ours, and the address that its file names first, as of its paper"]


class CatalogRecord(TypedDict):
    """What there is to choose from."""

    format: int
    choices: dict[str, list[Choice]]


def pruner_catalog() -> CatalogRecord:
    """Every pruner, those of other packages too."""
    return {"format": FORMAT, "choices": {"pruners": _plugins(pruners, Pruner)}}


def task_catalog() -> CatalogRecord:
    """Every task, those of other packages too."""
    return {"format": FORMAT, "choices": {"tasks": _plugins(tasks, Task)}}


def criteria_catalog() -> CatalogRecord:
    """What makes a token redundant, for `--criterion`, and the paper's settings, for `--preset`."""
    criteria = {"default": DEFAULT, **CRITERIA}
    named = {name: preset.condition for name, preset in PRESETS.items()}
    kinds = {"criteria": criteria, "presets": named}
    return {
        "format": FORMAT,
        "choices": {
            kind: [_condition(name, each) for name, each in found.items()] for kind, found in kinds.items()
        },
    }


def catalog_tables(record: CatalogRecord) -> Sequence[RichTable]:
    """The record for the terminal: names, and beside them what wraps there."""
    widest = max(len(each["name"]) for found in record["choices"].values() for each in found)
    tables = []
    for kind, found in record["choices"].items():
        table = RichTable(kind, "", box=None, pad_edge=False, show_header=len(record["choices"]) > 1)
        table.columns[0].no_wrap, table.columns[0].min_width = True, widest
        for each in found:
            table.add_row(each["name"], Text("; ".join([each["about"].rstrip("."), *_details(each)])))
        tables.append(table)
    return tables


def _details(choice: Choice) -> list[str]:
    given = [name for name, default in choice["options"].items() if default is None]
    parts = {"give": given, "needs": choice["needs"]}
    return [f"{name} {', '.join(each)}" for name, each in parts.items() if each] + [
        short_source(source) for source in choice["sources"]
    ]


def short_source(source: str) -> str:
    """A source as a reader takes it: an address by its end."""
    return source.replace("https://arxiv.org/abs/", "arXiv ").removeprefix("https://")


def _plugins(package: ModuleType, base: type[Any]) -> list[Choice]:
    return [_plugin(name, registry.find(package, name, base)) for name in registry.names(package)]


def _plugin(name: str, cls: type[Any]) -> Choice:
    doc = inspect.cleandoc(sys.modules[cls.__module__].__doc__ or cls.__doc__ or "")
    about = " ".join(doc.split("\n\n")[0].split())
    return {
        "name": name,
        "about": about.partition(": ")[2] or about,
        "options": {
            field.name: registry.default_text(field) for field in dataclasses.fields(cls) if field.init
        },
        "needs": _needs(cls),
        "sources": _sources(doc),
    }


def _sources(doc: str) -> list[str]:
    """Whose something is, by what its file says."""
    addresses = [] if "no paper" in doc else URL.findall(doc)[:1]
    return ["ours", *addresses] if re.search(r"\bOurs\b", doc) else addresses


def _needs(cls: type[Any]) -> list[str]:
    """What something reads beside the tokens or questions themselves."""
    layers = ["layers of the language model"] if issubclass(cls, LayerPruner) else []
    fitted = [f"a {name}" for name in FITTED if name in cls.__dataclass_fields__]
    signals: Any = getattr(cls, "required_signals", frozenset())
    if not isinstance(signals, frozenset):  # a property: what it asks for is one tensor for each picture
        signals = ["scores of the pictures"]
    return [*layers, *fitted, *sorted(signals)]


def _condition(name: str, condition: Condition) -> Choice:
    halves = {
        condition.signal: condition.confidence,
        f"{condition.regional_weight:g} * regional + {condition.global_weight:g} * global "
        f"({condition.measure})": condition.divergence,
    }
    return {
        "name": name,
        "about": " and ".join(
            f"{half} < {_limit(limit)}" for half, limit in halves.items() if limit is not None
        ),
        "options": {},
        "needs": [],
        "sources": [PAPER] if name == "paper" or name in PRESETS else [],
    }


def _limit(threshold: float | Quantile) -> str:
    """A threshold as `--confidence` takes it."""
    return f"q{threshold.quantile:g}" if isinstance(threshold, Quantile) else f"{threshold:g}"
