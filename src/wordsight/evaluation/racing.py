"""Race: ask several candidates picture after picture, and drop those that are worse than the best so far.

The test is one by betting, "Estimating means of bounded random variables by betting" (Waudby-Smith and
Ramdas), https://arxiv.org/abs/2010.09686: a gambler who stakes a share of his wealth on every picture, that
the candidate falls behind the leader, cannot expect to win if the candidate is as good. By Ville's inequality
his wealth ever reaches 1/a with a chance of at most a, however often one looks, however few pictures there
were, and whatever the differences look like. His bets are the paper's diversified ones: equal parts of the
wealth on each of a grid of constant shares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]  # (pictures,), each in [0, 1], higher = better
Round = TypeVar("Round")

LEVEL = 0.05
BETS = np.geomspace(0.06, 0.96, 5)


@dataclass(frozen=True)
class RaceResult:
    """The values of every candidate on the pictures it was asked about, the first ones of all; `left` are
    those that were never dropped.
    """

    values: dict[str, Values]
    left: tuple[str, ...]

    @property
    def order(self) -> list[str]:
        """All candidates: those left, the best first, then those dropped, the last one first."""
        return sorted(
            self.values,
            key=lambda name: (name not in self.left, -len(self.values[name]), -self.values[name].mean()),
        )


def race(
    names: Sequence[str],
    rounds: Iterable[Round],
    score: Callable[[str, Round], Values],
    *,
    level: float = LEVEL,
) -> RaceResult:
    """Score all candidates round by round, and after each drop the `losers`, until one is left or the rounds
    are over.

    The pictures have to come in random order. Then the best candidate is ever dropped with a chance of at
    most `level`, over all rounds and candidates together: it can only be dropped for one of the other K - 1,
    and for each of them with a chance of level / (K - 1).
    """
    values: dict[str, Values] = {name: np.zeros(0) for name in names}
    left = list(names)
    for each in rounds:
        for name in left:
            values[name] = np.concatenate([values[name], score(name, each)])
        out = losers({name: values[name] for name in left}, level / max(1, len(names) - 1))
        left = [name for name in left if name not in out]
        if len(left) == 1:
            break
    return RaceResult(values, tuple(left))


def losers(values: dict[str, Values], level: float) -> set[str]:
    """Those of the candidates that are worse than the one with the highest mean."""
    leader = max(values, key=lambda name: float(values[name].mean()))
    return {
        name for name, own in values.items() if log_wealth(values[leader] - own) >= math.log(1 / level)
    } - {leader}


def log_wealth(behind: Values) -> float:
    """The logarithm of what a gambler has who began with 1 and bets that the mean of these differences, each
    in [-1, 1], is above zero.
    """
    each = np.log1p(np.outer(BETS, behind)).sum(1)  # (bets,)
    return float(np.logaddexp.reduce(each) - math.log(len(BETS)))
