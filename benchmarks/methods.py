"""Methods that only a benchmark needs: most are told what is true of a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import Tensor

from wordsight import Codebook, CodebookPruner, Pruner
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import ScorePruner
from wordsight.pruners.random import Random
from wordsight.redundancy.criteria import CRITERIA, Condition
from wordsight.redundancy.probe import NOISE_FLOOR

Known = dict[bytes, dict[str, Tensor]]  # what is known of the tokens of a picture, by their embeddings
Method = Callable[[float], Pruner]  # the pruner of a method at a keep


def key(embeds: Tensor) -> bytes:
    """What a picture is looked up by."""
    return embeds.float().cpu().numpy().tobytes()


@dataclass(kw_only=True)
class Direct(ScorePruner):
    """The probe itself on every picture, no codebook: keeps what a criterion calls least redundant."""

    condition: Condition
    known: Known = field(repr=False)

    def score(self, tokens: VisualTokens) -> Tensor:
        return self.condition.information(self.known[key(tokens.embeds)])


@dataclass(kw_only=True)
class Saying(ScorePruner):
    """The probe itself, with a threshold (nats): keeps all tokens that say something, at least one."""

    known: Known = field(repr=False)
    floor: float = NOISE_FLOOR

    def score(self, tokens: VisualTokens) -> Tensor:
        return self.known[key(tokens.embeds)]["blind_divergence"]

    def select(self, tokens: VisualTokens) -> VisualTokens:
        says = self.score(tokens)
        kept = says >= min(self.floor, float(says.max()))
        return tokens.take(kept.nonzero()[:, 0])


@dataclass(kw_only=True)
class OneDraw(ScorePruner):
    """Random tokens of every picture, drawn once: three draws would cost as much as two methods more."""

    def score(self, tokens: VisualTokens) -> Tensor:
        return Random().score(tokens)


@dataclass(kw_only=True)
class TrueObjects(Random):
    """Random tokens of true objects first, then random others."""

    known: Known = field(default_factory=dict, repr=False)

    def score(self, tokens: VisualTokens) -> Tensor:
        return self.known[key(tokens.embeds)]["object"] + super().score(tokens)


def of_pruner(pruner: Pruner) -> Method:
    """A pruner at any keep."""
    return lambda keep: replace(pruner, keep=keep)


def of_book(book: Codebook) -> Method:
    """A codebook at any keep."""
    return lambda keep: CodebookPruner(keep=keep, codebook=book)


def of_probe(criterion: str, known: Known) -> Method:
    """The probe itself at any keep."""
    return lambda keep: Direct(keep=keep, condition=CRITERIA[criterion], known=known)
