"""Prototypes: which one each token is nearest to, and what those say themselves."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from typing_extensions import TypedDict

from wordsight._utils.numbers import rounded, word_pairs
from wordsight.models.prompt import Prompt
from wordsight.models.vlm import VLM
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.probe import probe_tokens, with_embeddings

WORDS = 3


class PrototypesRecord(TypedDict):
    """The prototypes of a codebook that tokens of a prompt are nearest to."""

    prototypes: Annotated[int, "how many the codebook has"]
    digest: str
    nearest: Annotated[list[int], "per token the number of its nearest prototype"]
    similarity: Annotated[list[float], "per token the cosine with that one"]
    says: Annotated[
        dict[str, list[list[Any]]],
        "by its number, the likeliest words of each nearest prototype, with probabilities",
    ]
    says_nothing: Annotated[list[int], "the numbers of those that say nothing: as without any picture"]
    pictures: Annotated[str, "why there are no pictures of the prototypes"]


def nearest_prototypes(vlm: VLM, prompt: Prompt, book: Codebook) -> PrototypesRecord:
    """The prototypes that the visual tokens of the prompt are nearest to, and what each says to the prompt's
    question, alone in a token's place.
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
        "says_nothing": occurring[probed.says_nothing].tolist(),
        "pictures": "the codebook keeps no pictures of the tokens that its prototypes were",
    }
