"""GLM-4.1V: as Qwen2-VL, a time stamp after each frame, whose placeholders are those of pictures."""

from __future__ import annotations

from wordsight.models.families.qwen2_vl import Qwen2VL


class Glm4v(Qwen2VL):
    """model_type "glm4v"."""


FAMILY = Glm4v()
