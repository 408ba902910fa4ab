"""Text-to-image attention: what the last token of the prompt looks at, in every layer."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wordsight.errors import UsageError
from wordsight.models.layer_hooks import decoder_layers, heard_of, listening
from wordsight.models.prompt import Prompt

if TYPE_CHECKING:
    from wordsight.models.vlm import VLM


@torch.no_grad()
def text_attention(vlm: VLM, prompt: Prompt) -> Tensor:
    """(layers, N) float32: the attention that the last token of the prompt pays to each of its visual tokens,
    the mean over heads. A row adds up to less than 1: the rest goes to the text.

    Raises UsageError if the model's attention cannot be listened to.
    """
    visual = prompt.is_visual[prompt.is_kept()].nonzero()[:, 0]  # (N,)
    with ExitStack() as stack:
        heard = [stack.enter_context(listening(layer.self_attn)) for layer in decoder_layers(vlm)]
        vlm.model(**prompt.inputs(), use_cache=False, logits_to_keep=1)
    if not all(heard):
        raise UsageError(
            f"{vlm.name} ({vlm.model.config.model_type}): its attention is computed by code of its own, not "
            "by a function of transformers that could be listened to"
        )
    last = torch.tensor([prompt.length - 1], device=visual.device)
    rows = [heard_of(one, 0, prompt.length).rows(last)[:, 0].mean(0)[visual] for one in heard]
    return torch.stack(rows)
