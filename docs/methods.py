"""Writes docs/methods.md: every pruner, from its file. `python docs/methods.py`."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from pathlib import Path

from wordsight import BookPruner, LayerPruner, MergePruner, Pruner, pruners
from wordsight._utils import registry
from wordsight._utils.options import expected
from wordsight.pruners.scorer import ScorerPruner

PAGE = Path(__file__).with_name("methods.md")
URL = r"https://\S+[^\s.,:)]"
SHARED = {field.name for field in dataclasses.fields(Pruner)}
HEAD = """# Methods

Every pruner, generated from its file (`python docs/methods.py`). A pruner is named by a SPEC,
`name:option=value,option=value`, wherever a command takes `--pruner`, and is a class of `wordsight`:
`divprune:keep=0.2` is `DivPrune(keep=0.2)`. All have four options:

{shared}

Of the published ones all are re-implemented, and below the name it says what differs from the released code;
`NAME@published` is a method as its authors have it, with their positions, rounding and
[budgets](published.md). Those that read the question choose anew for every question. Methods between layers
of the language model look at the question too: their `keep` is what is left after the last of these layers,
and the number of tokens that `ask` and `compare` report is the mean over all layers. Resizing the picture is
no pruner of tokens: every comparison has a row for it.

How they compare: [results](results.md). Your own: [add a pruner](extending.md).

"""


def page() -> str:
    """The page: a table of all methods, and a section for each."""
    classes = {name: registry.find(pruners, name, Pruner) for name in pruners.names()}
    table = ["| name | | paper | reads |", "|---|---|---|---|"]
    table += [_row(name, cls) for name, cls in classes.items()]
    sections = [_section(name, cls) for name, cls in classes.items()]
    return "\n".join([HEAD.format(shared=_options(Pruner, SHARED)) + "\n".join(table), "", *sections])


def _row(name: str, cls: type[Pruner]) -> str:
    title, about = _module(cls)
    return (
        f"| [`{name}`](#{name}) | {title.rpartition(': ')[2].rstrip('.')} | {_paper(about)} | {_reads(cls)} |"
    )


def _paper(about: str) -> str:
    """Whose a method is, by what its file says."""
    links = [f"[{url.rpartition('/')[2]}]({url})" for url in re.findall(URL, about)[:1]]
    if "no paper" in about:
        links = []
    return ", ".join((["ours"] if re.search(r"\bOurs\b", about) else []) + links) or "-"


def _section(name: str, cls: type[Pruner]) -> str:
    title, about = _module(cls)
    own = {field.name for field in dataclasses.fields(cls) if field.init} - SHARED
    parts = [
        f"## {name}",
        title,
        re.sub(URL, r"<\g<0>>", about),
        _plain(inspect.getdoc(cls) or ""),
        f"`{name}:{','.join([*_needed(cls), 'keep=0.2'])}`, `wordsight.{cls.__name__}`; reads {_reads(cls)}; "
        f"a budget for each {_default(cls, 'budget')}; "
        f"file [{name}.py](../src/wordsight/pruners/{name}.py).",
        _options(cls, own) if own else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _options(cls: type[Pruner], names: set[str]) -> str:
    rows = [
        f"| `{field.name}` | {_default(cls, field.name)} | {expected(cls, field.name)} |"
        for field in dataclasses.fields(cls)
        if field.name in names
    ]
    return "\n".join(["| option | default | may be |", "|---|---|---|", *rows])


def _needed(cls: type[Pruner]) -> list[str]:
    options = [field.name for field in dataclasses.fields(cls) if field.init]
    return [f"{option}=..." for option in options if not _default(cls, option)]


def _default(cls: type[Pruner], option: str) -> str:
    """As a SPEC has it; empty where an option has to be given."""
    field = next(field for field in dataclasses.fields(cls) if field.name == option)
    return registry.default_text(field) or ""


def _reads(cls: type[Pruner]) -> str:
    """What a method chooses by, beside the tokens themselves, and whether it makes new ones of them."""
    kinds = {LayerPruner: "layers of the language model", BookPruner: "a codebook", ScorerPruner: "a scorer"}
    read = [text for kind, text in kinds.items() if issubclass(cls, kind)]
    if isinstance(cls.required_signals, frozenset):
        read += [f"`{signal}`" for signal in sorted(cls.required_signals)]
    else:  # a property: what it asks for is one tensor for each picture
        read.append("scores of the pictures")
    return (", ".join(read) or "tokens alone") + ("; merges" if issubclass(cls, MergePruner) else "")


def _module(cls: type[Pruner]) -> tuple[str, str]:
    """The first paragraph of what a file says of itself, and the rest, each on one line."""
    title, _, about = (inspect.getdoc(sys.modules[cls.__module__]) or "").partition("\n\n")
    return _plain(title), _plain(about)


def _plain(text: str) -> str:
    """Paragraphs as one line each; the stars of products are no emphasis."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", re.sub(r" {2,}", " ", text)).replace("*", r"\*").strip()


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
