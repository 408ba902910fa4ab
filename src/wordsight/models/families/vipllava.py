"""ViP-LLaVA: one square grid of tokens per image, of the states of several layers of its tower at once."""

from __future__ import annotations

from typing import Any

from wordsight.models.families.llava import Llava
from wordsight.models.vision_tower import VisionTower


class VipLlava(Llava):
    """model_type "vipllava". No one layer of its tower is projected, so that it gives no signals."""

    def tower(self, model: Any) -> VisionTower | None:
        return None


FAMILY = VipLlava()
