"""Silence: what share of a model's visual tokens say nothing, and what a codebook is likely to do then.

A codebook keeps tokens that say nothing, to recognize such tokens elsewhere: a model that has none gives it
nothing to recognize. Little was seen between 10 and 50 %, so that LIKELY is a guess (docs/silence.md): it is
about random tokens, not about a book of random tokens, which does most of what a codebook does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor
from typing_extensions import TypedDict

from wordsight._utils.progress import track
from wordsight.errors import UsageError
from wordsight.media.images import load_picture
from wordsight.models.vlm import VLM
from wordsight.redundancy.probe import QUESTION, probe_tokens, says_nothing

LIKELY = 0.25  # the share from which a codebook is likely to beat random tokens
SAMPLE = 64  # tokens asked of a picture, which may have thousands
SEED = 0


class SilenceRecord(TypedDict):
    """How many of a model's visual tokens say nothing to the paper's question."""

    share: Annotated[float, "of the tokens that say nothing"]
    tokens: Annotated[int, "that were asked"]
    pictures: Annotated[int, "that they are of"]
    codebook_likely: Annotated[bool, f"a book will likely beat random tokens: the share is {LIKELY} or more"]


def share_silent(blind_divergence: Tensor, pictures: int) -> SilenceRecord:
    """How many of the tokens of so many pictures say nothing, by their divergence (T,) from the blind answer.

    Raises UsageError if there are none.
    """
    if not len(blind_divergence):
        raise UsageError("expected visual tokens to ask, got none: could no picture be read?")
    share = float(says_nothing(blind_divergence).double().mean())
    return {
        "share": share,
        "tokens": len(blind_divergence),
        "pictures": pictures,
        "codebook_likely": share >= LIKELY,
    }


def measure_silence(vlm: VLM, pictures: Sequence[Path]) -> SilenceRecord:
    """The same, of SAMPLE tokens of each picture, drawn by a fixed seed (of all, if it has no more)."""
    generator, parts = torch.Generator().manual_seed(SEED), list[Tensor]()
    for path in track(pictures, "asking tokens what they say", len(pictures)):
        prompt = vlm.encode(load_picture(path), QUESTION)
        content = (~prompt.visual.is_break).nonzero()[:, 0].cpu()
        drawn = content[torch.randperm(len(content), generator=generator)[:SAMPLE]].sort().values
        some = prompt.visual.take(drawn.to(prompt.visual.embeds.device))
        parts.append(probe_tokens(vlm, replace(prompt, visual=some)).blind_divergence.cpu())
    return share_silent(torch.cat([torch.empty(0), *parts]), len(parts))
