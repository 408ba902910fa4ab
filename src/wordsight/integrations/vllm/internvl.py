"""InternVL: tiles of the enlarged picture, then the whole one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from vllm.model_executor.models import interns1
from vllm.multimodal import MULTIMODAL_REGISTRY

from wordsight.integrations.vllm.pruning import PrunedInfo, PrunedModel, PrunedProcessor


class Info(PrunedInfo, interns1.InternS1ProcessingInfo):
    """What vLLM knows of the model."""


class Processor(PrunedProcessor, interns1.InternS1MultiModalProcessor):
    """What prepares prompts."""

    def picture(self, processed: Mapping[str, Any], number: int) -> tuple[Mapping[str, Any], list[int]]:
        tiles, count = int(processed["image_num_patches"][number]), self.config.image_seq_length
        ids = torch.full((1, tiles * count), self.config.image_token_id)
        return {"input_ids": ids}, [count] * tiles


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=Info, dummy_inputs=interns1.InternS1DummyInputsBuilder
)
class WordsightInternVL(PrunedModel, interns1.InternS1ForConditionalGeneration):
    """InternVL with pruned pictures."""
