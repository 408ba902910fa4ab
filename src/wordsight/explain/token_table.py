"""One row per visual token: where it is, what it says, how surely, and what its absence changes."""

from __future__ import annotations

from typing import Annotated, Any

from typing_extensions import TypedDict

from wordsight.algorithms.divergence import TOP, jensen_shannon
from wordsight.models.prompt import Prompt
from wordsight.models.vlm import VLM
from wordsight.redundancy import ablation, probe

FORMAT = 1
WORDS = 5

_Context = TypedDict(  # by a call, since "global" is a keyword
    "_Context",
    {
        "regional": Annotated[float, "how far leaving the token out of its neighborhood moves them, in nats"],
        "global": Annotated[float, "how far leaving its neighborhood out of the picture moves them, in nats"],
    },
    total=False,
)


class TokenRow(_Context):
    """A visual token: where it is, its words, and, if asked for, what its absence changes in the words."""

    cell: Annotated[list[int], "picture, crop, row and column"]
    words: Annotated[list[list[Any]], "the likeliest words when it is seen alone, with probabilities"]
    confidence: Annotated[float, "the probability of the likeliest word, in (0, 1]"]
    blind_divergence: Annotated[float, "how far the words are from those without any visual token, in nats"]
    says_nothing: Annotated[bool, "whether that is too little to mean anything: the words are the question's"]


class ProbeRecord(TypedDict):
    """What every visual token of a picture says."""

    format: int
    image: Annotated[str, "the path of the picture"]
    model: str
    question: str
    tokens: list[TokenRow]


def token_rows(vlm: VLM, prompt: Prompt) -> list[TokenRow]:
    """The rows of all visual tokens, without divergences."""
    probed = probe.probe_tokens(vlm, prompt)
    return [
        {
            "cell": cell,
            "words": [list(word) for word in words[:WORDS]],
            "confidence": words[0][1],
            "blind_divergence": divergence,
            "says_nothing": nothing,
        }
        for cell, words, divergence, nothing in zip(
            prompt.visual.cell.tolist(),
            probed.words,
            probed.blind_divergence.tolist(),
            probed.says_nothing.tolist(),
            strict=True,
        )
    ]


def token_rows_with_divergences(vlm: VLM, prompt: Prompt) -> list[TokenRow]:
    """The rows of all visual tokens, with the Jensen-Shannon divergences regional and global."""
    rows = token_rows(vlm, prompt)
    regional = ablation.ablate_regional(vlm, prompt, top=TOP).divergence(jensen_shannon).tolist()
    among_all = ablation.ablate_global(vlm, prompt, top=TOP).divergence(jensen_shannon).tolist()
    return [
        {**row, "regional": one, "global": other}
        for row, one, other in zip(rows, regional, among_all, strict=True)
    ]
