"""Qwen2.5-VL."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from vllm.model_executor.models import qwen2_5_vl
from vllm.multimodal import MULTIMODAL_REGISTRY

from wordsight.integrations.vllm.pruning import PrunedInfo, PrunedModel, PrunedProcessor


class Info(PrunedInfo, qwen2_5_vl.Qwen2_5_VLProcessingInfo):
    """What vLLM knows of the model."""

    films = sys.maxsize


class Processor(PrunedProcessor, qwen2_5_vl.Qwen2_5_VLMultiModalProcessor):
    """What prepares prompts."""

    def film(self, processed: Mapping[str, Any], number: int) -> tuple[Mapping[str, Any], list[int]]:
        told = ("video_grid_thw", "second_per_grid_ts")
        return {name: processed[name][number : number + 1] for name in told}, []


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=Info, dummy_inputs=qwen2_5_vl.Qwen2_5_VLDummyInputsBuilder
)
class WordsightQwen25VL(PrunedModel, qwen2_5_vl.Qwen2_5_VLForConditionalGeneration):
    """Qwen2.5-VL with pruned pictures."""
