"""Text-to-image attention: what the last token of the prompt attends to, in every layer with attention."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from wordsight.models.layer_hooks import (
    attention_layers,
    attention_of_row,
    capture_attention,
    exclusive,
    not_captured,
)
from wordsight.models.prompt import Prompt


@torch.no_grad()
def text_attention(model: Any, prompt: Prompt) -> Tensor:
    """(layers, N) float32, of the layers that have it: the attention that the last token of the prompt pays
    to each of its visual tokens, the mean over heads. A row adds up to less than 1: the rest goes
    to the text.

    Raises ModelError if the model's attention cannot be captured.
    """
    visual = prompt.is_visual[prompt.is_kept()].nonzero()[:, 0]  # (N,)
    with ExitStack() as stack:
        stack.enter_context(exclusive(model))
        captured = [
            stack.enter_context(capture_attention(layer.self_attn)) for layer in attention_layers(model)
        ]
        model(**prompt.inputs(), use_cache=False, logits_to_keep=1)
    if not all(captured):
        raise not_captured(attention_layers(model)[0])
    return torch.stack([attention_of_row(one, 0, prompt.length).last_row()[visual] for one in captured])
