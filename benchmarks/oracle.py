"""Which tokens of a picture truly cost nothing: left out together, they change no answer about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from wordsight import VLM
from wordsight.models.prompt import Prompt

FIRST = 16  # tokens that are tried at once


def free_tokens(vlm: VLM, prompts: list[Prompt], order: Tensor, new_tokens: int) -> Tensor:
    """(N,) which visual tokens of a picture can all be left out together without changing any answer to the
    prompts about it, of `new_tokens` at most. There are many such sets; this one is found in this order (N,).
    """

    def says(kept: Tensor) -> list[str]:
        rows = kept.nonzero()[:, 0]
        pruned = [replace(prompt, visual=prompt.visual.take(rows)) for prompt in prompts]
        return vlm.answers(pruned, new_tokens)

    return without_change(says, order)


def without_change(says: Callable[[Tensor], list[str]], order: Tensor) -> Tensor:
    """(N,) which places can be left out of a mask together, so that what it `says` stays: groups are tried in
    this order (N,), those that change something by halves, down to one.
    """
    kept = torch.ones(len(order), dtype=torch.bool)
    said, waiting = says(kept), list(torch.split(order, FIRST))[::-1]
    while waiting:
        group = waiting.pop()
        tried = kept.clone()
        tried[group] = False
        if says(tried) == said:
            kept = tried
        elif len(group) > 1:
            waiting += list(torch.split(group, -(-len(group) // 2)))[::-1]
    return ~kept
