"""One row per visual token: where it is, what it says, how surely, and what its absence changes."""

from __future__ import annotations

from typing import Any

from wordsight.algorithms.divergence import jensen_shannon
from wordsight.models.prompt import Prompt
from wordsight.models.vlm import VLM
from wordsight.redundancy import ablation, probe

WORDS = 5


def token_rows(vlm: VLM, prompt: Prompt, *, with_context: bool = False) -> list[dict[str, Any]]:
    """Rows with cell (image, crop, row, column), words and confidence in (0, 1].

    With context also the Jensen-Shannon divergences in nats: "regional" and "global".
    """
    reading = probe.probe_tokens(vlm, prompt)
    columns: dict[str, list[Any]] = {
        "cell": prompt.visual.cell.tolist(),
        "words": [[list(word) for word in words[:WORDS]] for words in reading.words],
        "confidence": reading.confidence.tolist(),
    }
    if with_context:
        columns["regional"] = ablation.ablate_regional(vlm, prompt).divergence(jensen_shannon).tolist()
        columns["global"] = ablation.ablate_global(vlm, prompt).divergence(jensen_shannon).tolist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
