"""How much faster the batched experiments are than one token at a time: both in one run, on one picture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from wordsight import VLM
from wordsight._utils.files import replacing
from wordsight.evaluation.environment import environment
from wordsight.models.prompt import Prompt
from wordsight.redundancy import ablation
from wordsight.redundancy.experiments import measure_tokens
from wordsight.redundancy.probe import QUESTION, keep_only
from wordsight.synthetic.scenes import SPLITS, render

HERE = Path(__file__).parent
ROUNDS = 5


def literal(vlm: VLM, prompt: Prompt) -> None:
    """The three experiments as the paper's code runs them: one forward pass per token and experiment."""
    for i, row in enumerate(ablation.neighborhoods(prompt.visual.cell).tolist()):
        vlm.logits([keep_only(prompt, [i])])
        alone = keep_only(prompt, row)
        vlm.logits([alone])
        vlm.logits([_without(vlm, alone, [row.index(i)])])
        vlm.logits([_without(vlm, prompt, row)])
    vlm.logits([prompt])


def _without(vlm: VLM, prompt: Prompt, places: list[int]) -> Prompt:
    embeds = prompt.visual.embeds.clone()
    embeds[places] = vlm.pad_embedding
    return replace(prompt, visual=replace(prompt.visual, embeds=embeds))


def measure() -> None:
    """Write results/speed.json: the ratio of every round, its median and range."""
    vlm = VLM.from_pretrained()
    ratios, seconds = [], []
    for number in range(ROUNDS):
        picture = render(SPLITS["validation"] + number).image
        began = perf_counter()
        measure_tokens(vlm, picture, (QUESTION,))
        batched = perf_counter() - began
        began = perf_counter()
        literal(vlm, vlm.encode(picture, QUESTION))
        ratios.append((perf_counter() - began) / batched)
        seconds.append(batched)
        print(f"round {number}: {ratios[-1]:.1f}x, batched {batched:.2f} s", flush=True)
    record = {
        "ratios": ratios,
        "median": float(np.median(ratios)),
        "batched_seconds_on_this_shared_machine": seconds,
        "tokens": 144,
        "command": "python benchmarks/speed.py",
        "environment": environment(vlm),
    }
    with replacing(HERE / "results" / "speed.json") as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    torch.manual_seed(0)
    measure()
