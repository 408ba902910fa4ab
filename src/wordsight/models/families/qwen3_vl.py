"""Qwen3-VL: as Qwen2-VL, a time stamp before each frame, features for the first layers (deepstack)."""

from __future__ import annotations

from wordsight.models.families.qwen2_vl import Qwen2VL


class Qwen3VL(Qwen2VL):
    """model_type "qwen3_vl"."""


FAMILY = Qwen3VL()
