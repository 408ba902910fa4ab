"""One of everything that another distribution can add to wordsight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from wordsight import Pruner
from wordsight.models.families import Family
from wordsight.models.tokens import VisualTokens
from wordsight.tasks.base import Example, Task

GREETING = "hello"


@dataclass(kw_only=True)
class EveryOther(Pruner):
    """Every second token from `start` on, as many as the budget allows."""

    start: int = 0

    def select(self, tokens: VisualTokens) -> VisualTokens:
        return tokens.take(torch.arange(self.start, len(tokens), 2)[: self.count(tokens)])


@dataclass(kw_only=True)
class Greetings(Task):
    """times: how often to greet."""

    times: int = 2

    def examples(self) -> Iterator[Example]:
        for number in range(self.times):
            yield Example("x.png", str(number), "hello?", GREETING, "greeting")


MADE_UP = Family()
