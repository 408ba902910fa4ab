"""Writes docs/methods.md: every pruner, from its file. `python docs/methods.py`."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from pathlib import Path

from wordsight import MergePruner, Pruner, pruners
from wordsight._utils import registry
from wordsight._utils.options import expected
from wordsight.reports.catalog import URL, Choice, pruner_catalog, short_source

PAGE = Path(__file__).with_name("methods.md")
SHARED = {field.name: registry.default_text(field) for field in dataclasses.fields(Pruner) if field.init}
HEAD = """# Methods

Every pruner, generated from its file (`python docs/methods.py`). A pruner is named by a SPEC,
`name:option=value,option=value`, wherever a command takes `--pruner`, and is a class of `wordsight`:
`divprune:keep=0.2` is `DivPrune(keep=0.2)`. All have four options (of some
a budget is for each crop or picture by default, as their sections say):

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
    methods = pruner_catalog()["choices"]["pruners"]
    table = ["| name | | paper | reads |", "|---|---|---|---|", *map(_row, methods)]
    head = HEAD.format(shared=_options(Pruner, SHARED))
    return "\n".join([head + "\n".join(table), "", *map(_section, methods)])


def _row(method: Choice) -> str:
    name, about, reads = method["name"], _plain(method["about"].rstrip(".")), ", ".join(method["needs"])
    links = [
        source if source == "ours" else f"[{short_source(source)}]({source})" for source in method["sources"]
    ]
    return f"| [`{name}`](#{name}) | {about} | {', '.join(links) or '-'} | {reads or 'tokens alone'} |"


def _section(method: Choice) -> str:
    name, options = method["name"], method["options"]
    cls = registry.find(pruners, name, Pruner)
    title, about = _module(cls)
    needed = [f"{option}=..." for option, default in options.items() if default is None]
    own = {option: default for option, default in options.items() if option not in SHARED}
    reads = ", ".join(method["needs"]) or "tokens alone"
    merges = "; merges" if issubclass(cls, MergePruner) else ""
    parts = [
        f"## {name}",
        title,
        URL.sub(r"<\g<0>>", about),
        _plain(inspect.getdoc(cls) or ""),
        f"`{name}:{','.join([*needed, 'keep=0.2'])}`, `wordsight.{cls.__name__}`; "
        f"reads {reads}{merges}; a budget for each {options['budget']}; "
        f"file [{name}.py](../src/wordsight/pruners/{name}.py).",
        _options(cls, own) if own else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _options(cls: type[Pruner], defaults: dict[str, str | None]) -> str:
    rows = [f"| `{name}` | {default or ''} | {expected(cls, name)} |" for name, default in defaults.items()]
    return "\n".join(["| option | default | may be |", "|---|---|---|", *rows])


def _module(cls: type[Pruner]) -> tuple[str, str]:
    """The first paragraph of what a file says of itself, and the rest, each on one line."""
    title, _, about = (inspect.getdoc(sys.modules[cls.__module__]) or "").partition("\n\n")
    return _plain(title), _plain(about)


def _plain(text: str) -> str:
    """Paragraphs as one line each; the stars of products are no emphasis."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", re.sub(r" {2,}", " ", text)).replace("*", r"\*").strip()


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
