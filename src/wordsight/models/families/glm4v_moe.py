"""GLM-4.5V, with a mixture of experts: as GLM-4.1V."""

from __future__ import annotations

from wordsight.models.families.glm4v import Glm4v


class Glm4vMoe(Glm4v):
    """model_type "glm4v_moe"."""


FAMILY = Glm4vMoe()
