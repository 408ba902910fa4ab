"""Options are what their annotations say, from Python and from text, and refused in one sentence."""

import math
import sys
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt
from torch import Tensor, zeros

from wordsight import pruners
from wordsight._utils.options import Count, Share, check_options, parse_option, share_hint
from wordsight.errors import UsageError


@dataclass(kw_only=True)
class Options:
    """One option of every kind."""

    keep: Share = 0.2
    tokens: Count | None = None
    rule: Literal["cosine", "softmax"] = "cosine"
    level: Literal[1, 2] = 1
    closed: Annotated[float, Interval(ge=-1, le=1)] = 0.0
    half_open: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    inside: Annotated[int, Interval(gt=0, lt=4)] = 1
    positive: Annotated[float, Gt(0)] = 1.0
    from_zero: Annotated[int, Ge(0)] = 0
    up_to: Annotated[float, Le(3)] = 0.0
    below: Annotated[int, Lt(3)] = 0
    threshold: Annotated[float, Interval(ge=-1, le=1)] | None = None
    loud: bool = False
    shares: tuple[float, ...] = (0.5,)
    pair: tuple[float, float] = (0.25, 0.5)
    name: str | None = None
    anything: Any = None
    computed: int = field(init=False, default="not looked at")

    def __post_init__(self) -> None:
        check_options(self)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("keep", [1e-9, 0.5, 1.0, 1]),
        ("tokens", [1, 10**9, None]),
        ("rule", ["cosine", "softmax"]),
        ("level", [1, 2]),
        ("closed", [-1, -1.0, 1]),
        ("half_open", [0, 0.999]),
        ("inside", [1, 3]),
        ("positive", [1e-9, 10**6]),
        ("from_zero", [0]),
        ("up_to", [3, -100.0]),
        ("below", [2, -100]),
        ("threshold", [None, 1, -1.0]),
        ("loud", [True, False]),
        ("shares", [(), (1, 0.5), (0.1, 0.2, 0.3)]),
        ("pair", [(0.1, 0.2)]),
        ("name", ["7", "", None]),
        ("anything", [object(), 3]),
    ],
)
def test_what_the_annotation_allows_is_taken_as_it_is(option, values):
    for value in values:
        assert getattr(Options(**{option: value}), option) is value


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("option", "expected", "values"),
    [
        (
            "keep",
            "a share of the tokens in (0, 1]",
            [0, 0.0, -0.1, 1.0001, NAN, INF, "0.2", True, None, [0.2]],
        ),
        ("tokens", "a whole number from 1 on or none", [0, -1, 2.0, NAN, "8", True]),
        ("rule", "'cosine' or 'softmax'", ["Cosine", "", None, 1]),
        ("level", "1 or 2", [3, "1", 1.5]),
        ("closed", "a number in [-1, 1]", [-1.01, 1.01, NAN]),
        ("half_open", "a number in [0, 1)", [1, 1.0, -1e-9, NAN]),
        ("inside", "a whole number in (0, 4)", [0, 4, 1.0]),
        ("positive", "a number above 0", [0, -1, NAN, True]),
        ("from_zero", "a whole number from 0 on", [-1, 0.0, False]),
        ("up_to", "a number up to 3", [3.01, NAN]),
        ("below", "a whole number below 3", [3]),
        ("threshold", "a number in [-1, 1] or none", [2, NAN, "none", False]),
        ("loud", "true or false", [0, 1, "true", None]),
        ("shares", "numbers, as 0.25+0.5", [0.5, [0.5], ("a",), (NAN,), "0.5"]),
        ("pair", "2 numbers joined by +", [(), (0.5,), (0.1, 0.2, 0.3), (NAN, 0.5)]),
        ("name", "text or none", [7, True]),
    ],
)
def test_what_it_does_not_allow_is_refused_with_what_was_given_and_expected(option, expected, values):
    for value in values:
        with pytest.raises(UsageError) as refusal:
            Options(**{option: value})
        sentence, _, _ = str(refusal.value).partition(";")
        assert sentence == f"{option} must be {expected}, got {value!r}"


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("keep", "0.5", 0.5),
        ("keep", "1", 1.0),
        ("keep", "1e-3", 0.001),
        ("tokens", "64", 64),
        ("tokens", "none", None),
        ("rule", "softmax", "softmax"),
        ("level", "2", 2),
        ("threshold", "-0.5", -0.5),
        ("threshold", "none", None),
        ("loud", "true", True),
        ("loud", "false", False),
        ("shares", "0.25+0.5", (0.25, 0.5)),
        ("shares", "1", (1.0,)),
        ("pair", "0.1+0.2", (0.1, 0.2)),
        ("name", "7", "7"),
        ("name", "none", None),
    ],
)
def test_text_is_read_as_the_annotation_says(option, text, value):
    found = parse_option(Options, option, text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("keep", "abc", "keep must be a share of the tokens in (0, 1], got 'abc'"),
        ("keep", "", "keep must be a share of the tokens in (0, 1], got ''"),
        ("keep", "nan", "keep must be a share of the tokens in (0, 1], got nan"),
        ("keep", "none", "keep must be a share of the tokens in (0, 1], got 'none'"),
        ("keep", "true", "keep must be a share of the tokens in (0, 1], got 'true'"),
        ("tokens", "0", "tokens must be a whole number from 1 on or none, got 0"),
        ("tokens", "1.5", "tokens must be a whole number from 1 on or none, got '1.5'"),
        ("rule", "triple", "rule must be 'cosine' or 'softmax', got 'triple'"),
        ("level", "3", "level must be 1 or 2, got '3'"),
        ("loud", "yes", "loud must be true or false, got 'yes'"),
        ("loud", "True", "loud must be true or false, got 'True'"),
        ("shares", "early", "shares must be numbers, as 0.25+0.5, got 'early'"),
        ("shares", "0.5+", "shares must be numbers, as 0.25+0.5, got '0.5+'"),
        ("shares", "nan+0.5", "shares must be numbers, as 0.25+0.5, got (nan, 0.5)"),
        ("pair", "0.5", "pair must be 2 numbers joined by +, got (0.5,)"),
    ],
)
def test_text_that_cannot_be_read_so_is_refused(option, text, message):
    with pytest.raises(UsageError) as refusal:
        parse_option(Options, option, text)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("20%", "; did you mean 0.2?"),
        ("12.5 %", "; did you mean 0.125?"),
        ("100%", "; did you mean 1?"),
        (64, "; for a number of tokens say tokens=64, as in divprune:tokens=64"),
        (2.0, "; for a number of tokens say tokens=2, as in divprune:tokens=2"),
        ("64", "; for a number of tokens say tokens=64, as in divprune:tokens=64"),
        *((value, "") for value in (0, -3, 1.5, "0%", "200%", "%", "abc", None, math.nan, math.inf)),
    ],
)
def test_a_share_that_is_none_says_what_may_have_been_meant(value, hint):
    assert share_hint(value) == hint


def test_only_the_option_that_is_a_share_has_the_hint():
    with pytest.raises(UsageError, match=r"got 64; for a number of tokens say tokens=64"):
        Options(keep=64)
    with pytest.raises(UsageError, match=r"closed must be a number in \[-1, 1\], got 64$"):
        Options(closed=64)


LAZY = """
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wordsight import Pruner

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(kw_only=True)
class Lazy(Pruner):
    folder: Path | None = None
"""


@pytest.mark.parametrize("options", ["", ":keep=0.5", ":folder=here"])
def test_an_annotation_that_is_imported_for_type_checking_alone_is_one_sentence(
    tmp_path, monkeypatch, options
):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lazy_pruner.py").write_text(LAZY)
    try:
        with pytest.raises(UsageError) as refusal:
            pruners.make(f"lazy_pruner:Lazy{options}")
    finally:
        sys.modules.pop("lazy_pruner", None)
    sentence = str(refusal.value).removeprefix(f"'lazy_pruner:Lazy{options}': ")
    assert sentence == (
        "the options of Lazy cannot be read: name 'Path' is not defined in its annotations; "
        "import it outside of TYPE_CHECKING"
    )


@dataclass(frozen=True)
class Inner:
    values: Tensor


@dataclass
class Outer:
    inner: Inner

    def __post_init__(self):
        check_options(self)


def test_a_dataclass_can_be_an_option():
    inner = Inner(zeros(2))
    assert Outer(inner).inner is inner


def test_something_else_in_its_place_is_refused():
    with pytest.raises(UsageError, match="inner must be Inner, got 'x'"):
        Outer("x")
