"""Qwen3.5 with a mixture of experts: as Qwen3.5."""

from __future__ import annotations

from wordsight.models.families.qwen3_5 import Qwen35


class Qwen35Moe(Qwen35):
    """model_type "qwen3_5_moe"."""


FAMILY = Qwen35Moe()
