"""Qwen3.5: as Qwen3-VL without deepstack; a language model of linear attention, mostly."""

from __future__ import annotations

from wordsight.models.families.qwen3_vl import Qwen3VL


class Qwen35(Qwen3VL):
    """model_type "qwen3_5"."""

    is_recurrent = True


FAMILY = Qwen35()
