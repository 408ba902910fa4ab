"""One row per visual token: where it is, what it says, how surely, and what its absence changes."""

from __future__ import annotations

from typing import Annotated, Any

from typing_extensions import NotRequired, TypedDict

from wordsight.algorithms.divergence import jensen_shannon
from wordsight.models.prompt import Prompt
from wordsight.models.vlm import VLM
from wordsight.redundancy import ablation, probe

FORMAT = 1
WORDS = 5

TokenRow = TypedDict(  # a call, since "global" is a keyword
    "TokenRow",
    {
        "cell": Annotated[list[int], "picture, crop, row and column"],
        "words": Annotated[list[list[Any]], "the likeliest words, with probabilities"],
        "confidence": Annotated[float, "the probability of the likeliest word, in (0, 1]"],
        "regional": NotRequired[
            Annotated[float, "what leaving the token out of its neighborhood changes, in nats"]
        ],
        "global": NotRequired[Annotated[float, "what leaving its neighborhood out of all changes, in nats"]],
    },
)


class ProbeRecord(TypedDict):
    """What every visual token of a picture says: `wordsight probe`."""

    format: int
    image: Annotated[str, "the path of the picture"]
    model: str
    question: str
    tokens: list[TokenRow]


def token_rows(vlm: VLM, prompt: Prompt, *, with_context: bool = False) -> list[TokenRow]:
    """The rows of all visual tokens; with context also the Jensen-Shannon divergences regional and global."""
    found = probe.probe_tokens(vlm, prompt)
    rows: list[TokenRow] = [
        {"cell": cell, "words": [list(word) for word in words[:WORDS]], "confidence": confidence}
        for cell, words, confidence in zip(
            prompt.visual.cell.tolist(), found.words, found.confidence.tolist(), strict=True
        )
    ]
    if with_context:
        regional = ablation.ablate_regional(vlm, prompt).divergence(jensen_shannon).tolist()
        among_all = ablation.ablate_global(vlm, prompt).divergence(jensen_shannon).tolist()
        for row, one, other in zip(rows, regional, among_all, strict=True):
            row["regional"], row["global"] = one, other
    return rows
