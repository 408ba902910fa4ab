"""Presets: what the paper's authors have set for their three models, to examine tokens, to build a codebook
and to prune by it.

"Beyond Intermediate States: Explaining Visual Redundancy through Language", https://arxiv.org/abs/2503.20540;
the values are those beside the codebooks that they released. Differs from their scripts in examining every
token, not 64 or 96 of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from wordsight.errors import UsageError, unknown
from wordsight.redundancy.build import Clustering, build_codebook
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.codebook_config import PruningRule
from wordsight.redundancy.collecting import EvidencePlan
from wordsight.redundancy.criteria import PAPER, Condition
from wordsight.redundancy.evidence import Evidence
from wordsight.redundancy.probe import RELEASED_QUESTION


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What a codebook is built by. `pruning`, if there is one, goes with the book, and
    `CodebookPruner.published(codebook=book)` prunes by it.

    >>> chosen = preset("llava-1.5")
    >>> book = chosen.build(collect_evidence(vlm, pictures, "evidence", chosen.plan))
    """

    condition: Condition
    clustering: Clustering
    pruning: PruningRule | None
    questions: Sequence[str] = (RELEASED_QUESTION,)

    @property
    def plan(self) -> EvidencePlan:
        """The evidence that it reads."""
        return EvidencePlan(questions=self.questions, condition=self.condition, clustering=self.clustering)

    def build(self, evidence: Evidence) -> Codebook:
        """The codebook of the evidence."""
        book = build_codebook(evidence, self.condition, self.clustering)
        return book if self.pruning is None else prunes_by(book, self.pruning)


_CLUSTERING = Clustering(largest=8, images=64, scale="sqrt_dim")
PRESETS = {
    "llava-1.5": Preset(
        condition=PAPER, clustering=_CLUSTERING, pruning={"rule": "cosine", "threshold": 0.45}
    ),
    "llava-next": Preset(
        condition=replace(PAPER, confidence=0.1),
        clustering=_CLUSTERING,
        pruning={"rule": "cosine", "threshold": 0.11},
    ),
    "llava-onevision": Preset(
        condition=replace(PAPER, confidence=0.08, divergence=1.8e-3),
        clustering=replace(_CLUSTERING, largest=3, clusters=24, images=16),
        pruning={"rule": "double_softmax", "keep": 0.5},
    ),
}
RELEASED = {  # shapes of the codebooks that the authors released
    (454, 4096): "llava-1.5",
    (969, 4096): "llava-next",
    (45, 3584): "llava-onevision",
}


def preset(name: str) -> Preset:
    """The preset of a name. Raises UsageError if there is none."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return PRESETS[name]


def prunes_by(book: Codebook, pruning: PruningRule) -> Codebook:
    """The book, which says how to prune by it."""
    return replace(book, config={**book.config, "pruning": pruning})


def with_released_pruning(book: Codebook, name: str | None = None) -> Codebook:
    """The book with the rule that the authors prune by with it: that of a preset, or else that of the book of
    this shape that they have released, if there is one. Raises UsageError if there is no such preset, or the
    book of this shape is another's.
    """
    count, width = book.prototypes.shape
    of_shape = RELEASED.get((count, width))
    if name is not None and of_shape not in (None, name):
        raise UsageError(
            f"a book of {count} prototypes of D={width} is the one that was released for {of_shape}, whose "
            f"rule is not that of {name}; leave out the preset"
        )
    name = name or of_shape
    pruning = None if name is None else preset(name).pruning
    return book if pruning is None else prunes_by(book, pruning)
