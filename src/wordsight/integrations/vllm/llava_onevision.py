"""LLaVA-OneVision: the whole picture, then the same enlarged, whose line breaks all stay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from vllm.model_executor.models import llava_onevision
from vllm.multimodal import MULTIMODAL_REGISTRY

from wordsight.integrations.vllm.llava import TOWER
from wordsight.integrations.vllm.pruning import PrunedInfo, PrunedModel, PrunedProcessor


class Info(PrunedInfo, llava_onevision.LlavaOnevisionProcessingInfo):
    """What vLLM knows of the model: one picture, since of several its processor makes no tiles, for which
    vLLM leaves room; and one film.
    """

    films = 1

    @cached_property
    def allowed_mm_limits(self) -> Mapping[str, int]:
        limits = super().allowed_mm_limits
        return {**limits, "image": min(limits["image"], 1)}


class Processor(PrunedProcessor, llava_onevision.LlavaOnevisionMultiModalProcessor):
    """What prepares prompts."""

    def film(self, processed: Mapping[str, Any], number: int) -> tuple[Mapping[str, Any], list[int]]:
        vision, films = self.config.vision_config, processed["pixel_values_videos"][number : number + 1]
        side = math.ceil(vision.image_size // vision.patch_size / 2)
        return {"pixel_values_videos": films}, [len(films[0]) * side**2 + 1]


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=Info, dummy_inputs=llava_onevision.LlavaOnevisionDummyInputsBuilder
)
class WordsightLlavaOnevision(PrunedModel, llava_onevision.LlavaOnevisionForConditionalGeneration):
    """LLaVA-OneVision with pruned pictures."""

    hf_to_vllm_mapper = TOWER | llava_onevision.LlavaOnevisionForConditionalGeneration.hf_to_vllm_mapper
