"""LLaVA-OneVision: the whole picture, then the same enlarged, whose line breaks all stay."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from vllm.model_executor.models import llava_onevision
from vllm.multimodal import MULTIMODAL_REGISTRY

from wordsight.integrations.vllm.llava import TOWER
from wordsight.integrations.vllm.pruning import PrunedInfo, PrunedModel, PrunedProcessor


class Info(PrunedInfo, llava_onevision.LlavaOnevisionProcessingInfo):
    """What vLLM knows of the model: one picture, since of several its processor makes no tiles, for which
    vLLM leaves room.
    """

    @cached_property
    def allowed_mm_limits(self) -> Mapping[str, int]:
        limits = super().allowed_mm_limits
        return {**limits, "image": min(limits["image"], 1)}


class Processor(PrunedProcessor, llava_onevision.LlavaOnevisionMultiModalProcessor):
    """What prepares prompts."""


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=Info, dummy_inputs=llava_onevision.LlavaOnevisionDummyInputsBuilder
)
class WordsightLlavaOnevision(PrunedModel, llava_onevision.LlavaOnevisionForConditionalGeneration):
    """LLaVA-OneVision with pruned pictures."""

    hf_to_vllm_mapper = TOWER | llava_onevision.LlavaOnevisionForConditionalGeneration.hf_to_vllm_mapper
