"""Prototypes: which one each token is nearest to, and what those say themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from wordsight._utils.numbers import rounded, spoken
from wordsight.models.prompt import Prompt
from wordsight.models.tokens import VisualTokens
from wordsight.models.vlm import VLM
from wordsight.redundancy import probe
from wordsight.redundancy.codebook import Codebook

WORDS = 3


def nearest(vlm: VLM, prompt: Prompt, book: Codebook) -> dict[str, Any]:
    """Per visual token of the prompt the index of its nearest prototype and their cosine; what each of those
    prototypes says to the prompt's question, alone in a token's place; and why there are no pictures of them.
    """
    cosine, index = book.similarity(prompt.visual.embeds).max(-1)  # (N,) each
    occurring = torch.unique(index)
    reading = read(vlm, prompt, book.prototypes[occurring.cpu()])
    says = {
        str(number): spoken(words[:WORDS], chances)
        for number, words, chances in zip(
            occurring.tolist(), reading.spelled, reading.probabilities, strict=True
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


def read(vlm: VLM, prompt: Prompt, prototypes: Tensor) -> probe.Reading:
    """What prototypes (P, D) say to the prompt's question, each as its only visual token."""
    seen = prompt.visual
    count = len(prototypes)
    tokens = VisualTokens(
        prototypes.to(seen.embeds),
        seen.slot[:1].expand(count),
        seen.cell[:1].expand(count, -1),
        tuple(layer.new_zeros(count, layer.shape[1]) for layer in seen.deep),
        listed=seen.listed,
    )
    return probe.read(vlm, replace(prompt, visual=tokens))
