"""Ask every visual token of a multimodal language model what it says, and drop the ones that say nothing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Answer": "wordsight.models.chat",
    "Chat": "wordsight.models.chat",
    "Clustering": "wordsight.redundancy.codebook",
    "Codebook": "wordsight.redundancy.codebook",
    "CodebookPruner": "wordsight.pruners.codebook",
    "Condition": "wordsight.redundancy.criteria",
    "Evidence": "wordsight.redundancy.evidence",
    "Prompt": "wordsight.models.prompt",
    "Pruner": "wordsight.pruners.base",
    "Quantile": "wordsight.redundancy.criteria",
    "Reading": "wordsight.redundancy.probe",
    "ScorePruner": "wordsight.pruners.base",
    "Task": "wordsight.tasks.base",
    "UsageError": "wordsight.errors",
    "VLM": "wordsight.models.vlm",
    "Video": "wordsight.media.video",
    "VisualTokens": "wordsight.models.tokens",
    "WordsightError": "wordsight.errors",
    "compare": "wordsight.evaluation.comparison",
}
__all__ = sorted(_HOMES)  # one list of names, not two


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'wordsight' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
