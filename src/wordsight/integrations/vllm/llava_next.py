"""LLaVA-NeXT (1.6): the whole picture, then the same enlarged, whose line breaks all stay."""

from __future__ import annotations

from vllm.model_executor.models import llava_next
from vllm.model_executor.models.llava import LlavaDummyInputsBuilder
from vllm.multimodal import MULTIMODAL_REGISTRY

from wordsight.integrations.vllm.llava import TOWER
from wordsight.integrations.vllm.pruning import PrunedInfo, PrunedModel, PrunedProcessor


class Info(PrunedInfo, llava_next.LlavaNextProcessingInfo):
    """What vLLM knows of the model."""


class Processor(PrunedProcessor, llava_next.LlavaNextMultiModalProcessor):
    """What prepares prompts."""


@MULTIMODAL_REGISTRY.register_processor(Processor, info=Info, dummy_inputs=LlavaDummyInputsBuilder)
class WordsightLlavaNext(PrunedModel, llava_next.LlavaNextForConditionalGeneration):
    """LLaVA-NeXT (1.6) with pruned pictures."""

    hf_to_vllm_mapper = TOWER | llava_next.LlavaNextForConditionalGeneration.hf_to_vllm_mapper
