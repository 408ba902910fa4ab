"""Options whose annotation is a class of ours, as a Condition or a Pruner."""

from dataclasses import dataclass

import pytest
from torch import Tensor, zeros

from wordsight._utils.options import check_options
from wordsight.errors import UsageError


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
