"""MMTok: keep the tokens that together cover the words of the question and all visual tokens.

"MMTok: Multimodal Coverage Maximization for Efficient Inference of VLMs", https://arxiv.org/abs/2508.18264.
Re-implemented from the rule. Differs from the released code: the question alone is covered, as the tokenizer
splits it; there, for some models, the words of the whole prompt are. Kept tokens stay where they were, since
closing the gaps ruins grounding (`positions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from wordsight._utils.options import NotNegative, Positive
from wordsight.algorithms.selection import cosine, facility_location
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import CONTIGUOUS, Pruner


@dataclass(kw_only=True)
class MMTok(Pruner):
    """alpha: how much covering the visual tokens counts beside covering the words.

    Temperatures are of the softmax that tells how well each token covers a word, and another token (by the
    tower's features).
    """

    PUBLISHED = CONTIGUOUS
    required_signals: ClassVar[frozenset[str]] = frozenset({"features", "question"})
    alpha: NotNegative = 0.5
    text_temperature: Positive = 0.02
    vision_temperature: Positive = 0.2

    def select(self, tokens: VisualTokens) -> VisualTokens:
        words = (tokens.signals["question"].float().T / self.text_temperature).softmax(1)  # (T, N)
        others = cosine(tokens.signals["features"]).div_(self.vision_temperature).softmax(1)  # (N, N)
        cover = torch.cat([words / max(1, len(words)), self.alpha * others / len(tokens)])  # of means
        worth = torch.ones(len(tokens), device=cover.device)
        return tokens.take(facility_location(cover, self.count(tokens), worth))
