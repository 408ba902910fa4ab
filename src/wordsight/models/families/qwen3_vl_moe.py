"""Qwen3-VL with a mixture of experts: as Qwen3-VL."""

from __future__ import annotations

from wordsight.models.families.qwen3_vl import Qwen3VL


class Qwen3VLMoe(Qwen3VL):
    """model_type "qwen3_vl_moe"."""


FAMILY = Qwen3VLMoe()
