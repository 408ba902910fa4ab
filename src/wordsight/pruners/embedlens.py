"""EmbedLens: drop the tokens whose nearest word is one that many others have, too; such words mean nothing.

"EmbedLens" (CVPR 2026), https://arxiv.org/abs/2603.00510: projected tokens whose nearest words are a few
meaningless ones are dead or sinks. Re-implemented from that. Differs from the released code: it lists the
words of LLaVA by hand (ids 1141, 26673, 30296); here those are meaningless that most tokens of the picture
share, so it works on any model. Kept tokens stay where they were, since closing the gaps ruins grounding
(`positions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, ScorePruner
from wordsight.pruners.scopes import BudgetScope


@dataclass(kw_only=True)
class EmbedLens(ScorePruner):
    """Tokens whose nearest word is rare in the picture, the more similar to it the better."""

    PUBLISHED = CONTIGUOUS
    required_signals: ClassVar[frozenset[str]] = frozenset({"nearest_word", "word_similarity"})
    budget: BudgetScope = "image"

    def score(self, tokens: VisualTokens) -> Tensor:
        word = tokens.signals["nearest_word"]
        _, group, sizes = torch.unique(word, return_inverse=True, return_counts=True)
        shared: Tensor = sizes[group]  # (N,)
        # In [0, 2/3]: one more token that shares the word always outweighs it.
        return (tokens.signals["word_similarity"].float() + 1) / 3 - shared
