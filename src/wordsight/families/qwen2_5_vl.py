"""Qwen2.5-VL: as Qwen2-VL; positions in time are seconds."""

from __future__ import annotations

from wordsight.families.qwen2_vl import Qwen2VL


class Qwen25VL(Qwen2VL):
    """model_type "qwen2_5_vl"."""


FAMILY = Qwen25VL()
