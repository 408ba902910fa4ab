"""CDPruner: keep tokens that differ from each other and matter to the question.

"Beyond Attention or Similarity: Maximizing Conditional Diversity for Token Pruning in MLLMs",
https://arxiv.org/abs/2506.10967. Re-implemented from the rule. Differs from the released code in what matters
to the question: there, minus the cosine of CLIP's image and text embeddings; checkpoints of Hugging Face have
no text tower of CLIP, so here it is the mean cosine of a projected token with the words of the question in
the language model's embedding space. That is not the paper's relevance. Kept tokens stay where they were,
since closing the gaps ruins grounding (`positions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wordsight.algorithms.selection import cosine, greedy_dpp, min_max_scaled
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, Pruner
from wordsight.pruners.scopes import BudgetScope


@dataclass(kw_only=True)
class CDPruner(Pruner):
    """A determinantal point process whose kernel is the cosine of two tokens times the relevance of both,
    scaled to [0, 1] over all of the prompt.
    """

    PUBLISHED = CONTIGUOUS
    required_signals: ClassVar[frozenset[str]] = frozenset({"question"})
    budget: BudgetScope = "crop"

    def select(self, tokens: VisualTokens) -> VisualTokens:
        return self.select_each([tokens])[0]

    def select_each(self, scopes: Sequence[VisualTokens]) -> list[VisualTokens]:
        relevance = min_max_scaled(torch.cat([each.signals["question"] for each in scopes]).float().mean(1))
        parts = torch.split(relevance, [len(tokens) for tokens in scopes])
        return [self._diverse(tokens, own) for tokens, own in zip(scopes, parts, strict=True)]

    def _diverse(self, tokens: VisualTokens, relevance: Tensor) -> VisualTokens:
        kernel = cosine(tokens.embeds).mul_(relevance[:, None]).mul_(relevance)
        return tokens.take(greedy_dpp(kernel, self.count(tokens)))
