"""Prototypes: which one each token is nearest to, and what those say themselves."""

from __future__ import annotations

from typing import Any

import torch

from wordsight._utils.numbers import rounded, word_pairs
from wordsight.models.prompt import Prompt
from wordsight.models.vlm import VLM
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.probe import probe_tokens, with_embeddings

WORDS = 3


def nearest_prototypes(vlm: VLM, prompt: Prompt, book: Codebook) -> dict[str, Any]:
    """Per visual token of the prompt the index of its nearest prototype and their cosine; what each of those
    prototypes says to the prompt's question, alone in a token's place; and why there are no pictures of them.
    """
    cosine, index = book.similarity(prompt.visual.embeds).max(-1)  # (N,) each
    occurring = torch.unique(index)
    probed = probe_tokens(vlm, with_embeddings(prompt, book.prototypes[occurring.cpu()]))
    says = {
        str(number): word_pairs(words[:WORDS], chances)
        for number, words, chances in zip(
            occurring.tolist(), probed.spelled, probed.probabilities, strict=True
        )
    }
    return {
        "prototypes": len(book.prototypes),
        "digest": book.digest,
        "nearest": index.tolist(),
        "similarity": rounded(cosine),
        "says": says,
        "pictures": "the codebook keeps no pictures of the tokens that its prototypes were",
    }
