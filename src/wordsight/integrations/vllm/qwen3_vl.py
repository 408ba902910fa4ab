"""Qwen3-VL: features for the first layers (deepstack) are kept with their tokens."""

from __future__ import annotations

from vllm.model_executor.models import qwen3_vl
from vllm.multimodal import MULTIMODAL_REGISTRY

from wordsight.integrations.vllm.pruning import PrunedInfo, PrunedModel, PrunedProcessor


class Info(PrunedInfo, qwen3_vl.Qwen3VLProcessingInfo):
    """What vLLM knows of the model."""


class Processor(PrunedProcessor, qwen3_vl.Qwen3VLMultiModalProcessor):
    """What prepares prompts."""


@MULTIMODAL_REGISTRY.register_processor(Processor, info=Info, dummy_inputs=qwen3_vl.Qwen3VLDummyInputsBuilder)
class WordsightQwen3VL(PrunedModel, qwen3_vl.Qwen3VLForConditionalGeneration):
    """Qwen3-VL with pruned pictures."""
