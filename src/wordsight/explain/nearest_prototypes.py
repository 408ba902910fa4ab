"""Prototypes: which one each token is nearest to, and what those say themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor
from typing_extensions import TypedDict

from wordsight._utils.numbers import rounded, word_pairs
from wordsight.models.prompt import Prompt
from wordsight.models.vlm import VLM
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.origins import Origins
from wordsight.redundancy.probe import decode_ids, probe_tokens, with_embeddings
from wordsight.reports.page import inline
from wordsight.reports.patches import COLUMNS, tiled

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
    patches: Annotated[
        str | None,
        "what they were in pictures: a PNG as a data URL with a square for each in `says`, in that order; "
        "null if the codebook keeps none",
    ]
    columns: Annotated[int, "how many of these squares are in a row"]
    said: Annotated[
        dict[str, list[list[Any]] | None],
        "the likeliest words of these alone in their pictures; null if nothing; empty without patches",
    ]


def nearest_prototypes(vlm: VLM, prompt: Prompt, book: Codebook) -> PrototypesRecord:
    """The prototypes that the visual tokens of the prompt are nearest to, and what each says to the prompt's
    question, alone in a token's place.
    """
    cosine, index = book.similarity(prompt.visual.embeds).max(-1)  # (N,) each
    occurring = torch.unique(index)
    probed = probe_tokens(vlm, with_embeddings(prompt, book.prototypes[occurring.cpu()]))
    origins = book.origins and book.origins.take(occurring.cpu())
    return {
        "prototypes": len(book.prototypes),
        "digest": book.digest,
        "nearest": index.tolist(),
        "similarity": rounded(cosine),
        "says": _by_number(occurring, probed.spelled, probed.probabilities),
        "says_nothing": occurring[probed.says_nothing].tolist(),
        "patches": inline(tiled(origins.patches.numpy()), "png") if origins else None,
        "columns": COLUMNS,
        "said": _said(vlm, occurring, origins) if origins else {},
    }


def _said(vlm: VLM, numbers: Tensor, origins: Origins) -> dict[str, list[list[Any]] | None]:
    """By the number of a prototype, its words in its picture, or nothing."""
    words = _by_number(numbers, decode_ids(vlm, origins.words), origins.word_probabilities)
    silent = numbers[origins.says_nothing.to(numbers.device)].tolist()
    return {**words, **{str(number): None for number in silent}}


def _by_number(
    numbers: Tensor, spelled: Sequence[Sequence[str]], chances: Tensor
) -> dict[str, list[list[Any]]]:
    """By the number of a prototype, its words with their probabilities."""
    rows = zip(numbers.tolist(), spelled, chances, strict=True)
    return {str(number): word_pairs(words[:WORDS], row) for number, words, row in rows}
