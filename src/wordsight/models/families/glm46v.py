"""GLM-4.6V: as GLM-4.1V."""

from __future__ import annotations

from wordsight.models.families.glm4v import Glm4v


class Glm46V(Glm4v):
    """model_type "glm46v"."""


FAMILY = Glm46V()
