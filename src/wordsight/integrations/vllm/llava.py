"""LLaVA 1.5, with a tower whose pictures are all of one size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vllm.model_executor.models import llava
from vllm.model_executor.models.utils import WeightsMapper
from vllm.multimodal import MULTIMODAL_REGISTRY

from wordsight.integrations.vllm.pruning import PrunedInfo, PrunedModel, PrunedProcessor

# Transformers has saved towers without the name of the module that they are in.
TOWER = WeightsMapper(
    orig_to_new_regex={
        re.compile(r"^(model\.)?vision_tower\.(?!vision_model\.)"): "vision_tower.vision_model."
    }
)


class Info(PrunedInfo, llava.LlavaProcessingInfo):
    """What vLLM knows of the model."""


class Processor(PrunedProcessor, llava.LlavaMultiModalProcessor):
    """What prepares prompts."""

    def picture(self, processed: Mapping[str, Any], number: int) -> tuple[Mapping[str, Any], list[int]]:
        vision = self.config.vision_config
        return {}, [(vision.image_size // vision.patch_size) ** 2]


@MULTIMODAL_REGISTRY.register_processor(Processor, info=Info, dummy_inputs=llava.LlavaDummyInputsBuilder)
class WordsightLlava(PrunedModel, llava.LlavaForConditionalGeneration):
    """LLaVA with pruned pictures."""

    hf_to_vllm_mapper = TOWER | llava.LlavaForConditionalGeneration.hf_to_vllm_mapper
