"""Pruners of the user's own modules, named as module:Class wherever a SPEC is taken."""

import sys
import textwrap
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from wordsight import DivPrune, pruners
from wordsight._utils import registry
from wordsight.errors import UsageError
from wordsight.pruners.base import Pruner

MODULE = """
from __future__ import annotations

from dataclasses import dataclass

import torch

from wordsight import Pruner, ScorePruner
from wordsight.pruners.book import BookPruner
from wordsight.pruners.scopes import BudgetScope

NUMBER = 3


@dataclass(kw_only=True)
class First(Pruner):
    offset: int = 0
    weight: float | None = 0.5
    name: str | None = None
    loud: bool = False

    def select(self, tokens):
        return tokens.take(torch.arange(self.count(tokens)) + self.offset)


@dataclass(kw_only=True)
class Needy(Pruner):
    power: int


class Plain(Pruner):
    power: int = 2


@dataclass(kw_only=True)
class Choosing(Pruner):
    choice: str = "best"


@dataclass(kw_only=True)
class Scoring(ScorePruner):
    budget: BudgetScope = "image"
    score: float = 0.5


@dataclass(kw_only=True)
class Deeper(Scoring):
    pass


@dataclass(kw_only=True)
class Reading(BookPruner):
    book: str = "mine"


class Stranger:
    pass
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A function that writes a module into the current folder; what was imported is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)

    def write(name, source=MODULE):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(source))

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_class_of_a_module_in_the_current_folder_is_a_pruner(written, tokens):
    written("mine")
    pruner = pruners.make("mine:First:tokens=3,offset=2")
    assert pruner.prune(tokens).slot.tolist() == [2, 3, 4]


def test_a_module_of_a_package_is_named_with_dots(written):
    written("deep/__init__", "")
    written("deep/mine")
    assert pruners.make("deep.mine:First").keep == 0.2


def test_a_module_on_the_path_is_found_from_anywhere(written, tmp_path, monkeypatch):
    written("elsewhere/mine")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    assert type(pruners.make("mine:First")).__name__ == "First"


def test_the_current_folder_is_on_the_path_for_the_import_alone(written):
    written("mine")
    before = list(sys.path)
    pruners.make("mine:First")
    assert sys.path == before


def test_a_module_is_imported_once(written):
    written("mine")
    assert type(pruners.make("mine:First")) is type(pruners.make("mine:First:tokens=4"))


def test_a_module_that_failed_is_read_again_when_it_is_mended(written):
    written("mine", "raise RuntimeError")
    with pytest.raises(UsageError):
        pruners.make("mine:First")
    written("mine")
    assert pruners.make("mine:First").keep == 0.2


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"offset": 3},
        {"weight": None, "loud": True},
        {"weight": 1e-7, "positions": "contiguous"},
        {"name": "7"},
    ],
)
def test_the_spec_rebuilds_a_pruner_from_outside(written, options):
    written("mine")
    pruner = type(pruners.make("mine:First"))(**options)
    assert registry.spec(pruner).startswith("mine:First")
    assert pruners.make(registry.spec(pruner)) == pruner


@pytest.mark.parametrize("given", ["divprune", 3, DivPrune])
def test_what_is_no_object_has_no_spec(given):
    with pytest.raises(UsageError, match="expected pruners and tasks as objects, such as DivPrune"):
        registry.spec(given)


def test_a_name_of_ours_is_never_a_module(written):
    written("uniform")
    with pytest.raises(
        UsageError, match="expected option=value, got 'First'; uniform has keep, tokens, budget, positions"
    ):
        pruners.make("uniform:First")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere:First", "no module 'nowhere' in the current folder or on the path"),
        ("mine.deeper:First", r"no module 'mine\.deeper'"),
        ("mine.py:First", r"no module 'mine\.py' .* expected a name as in `import my_module`"),
        ("./mine:First", "'./mine' is no name of a module"),
        (":First", "'' is no name of a module"),
        (
            "mine:Frist",
            r"unknown class of mine 'Frist': did you mean 'First'\? choose from Choosing, Deeper, First, ",
        ),
        ("mine:NUMBER", "NUMBER of mine is no subclass of Pruner"),
        ("mine:Stranger", "Stranger of mine is no subclass of Pruner"),
        ("mine:Plain", "Plain of mine is no dataclass; write @dataclass"),
        ("mine:Choosing", r"an option of Choosing of mine hides Pruner\.choice; give it another name"),
        ("mine:Scoring", r"an option of Scoring of mine hides ScorePruner\.score"),
        ("mine:Reading", r"an option of Reading of mine hides BookPruner\.book"),
        ("mine:Deeper", r"an option of Deeper of mine hides ScorePruner\.score"),
        ("mine:Needy", "Needy needs power=..."),
        ("mine:First:ofset=1", "unknown option of First 'ofset': did you mean 'offset'"),
        (
            "mine:First:offset",
            "expected option=value, got 'offset'; First has keep, tokens, budget, positions, offset",
        ),
        ("mine:First:offset=1.5", r"offset must be a whole number, got '1\.5'"),
        ("mine:First:keep=0", "keep must be .* got 0"),
        ("empty:First", "unknown class of empty 'First': choose from none, it has no Pruner"),
        ("syntax:First", "importing syntax failed with SyntaxError: .*line 1"),
        (
            "broken:First",
            "importing broken failed with NameError: name 'undefined' is not defined; `python -c",
        ),
        ("lacking:First", "importing lacking failed with ModuleNotFoundError: No module named 'not_there'"),
        ("mine", "unknown pruner 'mine'"),
        ("mine:offset=1", "unknown pruner 'mine'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(written, spec, message):
    written("mine")
    written("empty", "")
    written("syntax", "def")
    written("broken", "undefined")
    written("lacking", "import not_there")
    with pytest.raises(UsageError, match=message) as refusal:
        pruners.make(spec)
    assert "\n" not in str(refusal.value)


@dataclass(kw_only=True)
class Listing(Pruner):
    words: tuple[str, ...] = field(default_factory=tuple)


def test_a_default_that_is_made_is_a_default():
    assert registry.spec(Listing()).endswith(":Listing")


@dataclass(kw_only=True)
class Named(Pruner):
    FIRST: ClassVar[str] = "name"
    loud: bool = False
    name: str


def test_the_first_option_may_be_given_without_its_name():
    module = f"{__name__}:Named"
    assert registry._options(Named, "a,loud=true", "named:a,loud=true", "named") == {
        "name": "a",
        "loud": True,
    }
    assert registry.spec(Named(name="a", loud=True)) == f"{module}:a,loud=true"
    with pytest.raises(UsageError, match="expected option=value, got 'b'"):
        registry._options(Named, "a,b", "named:a,b", "named")
