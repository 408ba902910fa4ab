"""SmolVLM: pictures as Idefics3, video frames as pictures without tiles."""

from __future__ import annotations

from wordsight.models.families.idefics3 import Idefics3


class SmolVLM(Idefics3):
    """model_type "smolvlm"."""


FAMILY = SmolVLM()
