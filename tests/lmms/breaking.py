"""A method that fails at every second prompt, as a package of its own would bring it."""

from dataclasses import dataclass
from itertools import count

from wordsight.pruners.base import Pruner

PROMPTS = count()


@dataclass(kw_only=True)
class Breaking(Pruner):
    """Keeps all tokens of the other half."""

    def select(self, tokens):
        if next(PROMPTS) % 2:
            raise RuntimeError("no memory left")
        return tokens
