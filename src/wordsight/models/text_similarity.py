"""Text similarity: how near visual tokens are to the words of the question, and to all known words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from wordsight.models.offloading import onloaded
from wordsight.models.tokens import VisualTokens

# Signals that every model has. question (N, T): the cosine of each visual token with the input embedding of
# each token of the question. nearest_word (N,): the id of the token of the vocabulary that is nearest by
# cosine, and word_similarity (N,): that cosine.
TEXT_SIGNALS = frozenset({"nearest_word", "question", "word_similarity"})
CHUNK = 8192  # words at a time


def with_text_signals(
    model: Any, tokenizer: Any, tokens: VisualTokens, question: str, names: frozenset[str]
) -> VisualTokens:
    """The tokens with the signals named, those of TEXT_SIGNALS."""
    if not names:
        return tokens
    signals, embeddings = dict(tokens.signals), model.get_input_embeddings()
    with onloaded(embeddings):
        weight = embeddings.weight
        if "question" in names:
            ids = tokenizer(question, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
            signals["question"] = _unit(tokens.embeds) @ _unit(weight[ids.to(weight.device)]).T
        if names - {"question"} and not signals.keys() >= names - {"question"}:
            nearest = _nearest(tokens.embeds, weight[: len(tokenizer)])
            signals["word_similarity"], signals["nearest_word"] = nearest
    return replace(tokens, signals=signals)


def _nearest(embeds: Tensor, vocabulary: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) the largest cosine of each visual token (N, D) with a word (V, D), and (N,) which word that is."""
    unit = _unit(embeds)
    best = torch.full((len(embeds),), -2.0, device=embeds.device)
    word = torch.zeros(len(embeds), dtype=torch.long, device=embeds.device)
    for start in range(0, len(vocabulary), CHUNK):
        value, index = (unit @ _unit(vocabulary[start : start + CHUNK]).T).max(-1)
        better = value > best
        best, word = torch.where(better, value, best), torch.where(better, index + start, word)
    return best, word


def _unit(rows: Tensor) -> Tensor:
    return normalize(rows.detach().float(), dim=-1)
