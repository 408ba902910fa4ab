"""Noise: how far words move when the same is computed in another order, which no signal can be told from.

Every prompt is read once together with others and once alone: the same sums, rounded in another order. What
moves words less than that, in the model's dtype and on its device, counts as no change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import torch

from wordsight.algorithms.divergence import MEASURES, jensen_shannon
from wordsight.models.vlm import VLM
from wordsight.redundancy import ablation, probe
from wordsight.redundancy.experiments import AskedPicture, probes

SAMPLE = 32  # tokens of a picture


def noise_floors(asked: AskedPicture, needs: Collection[str]) -> dict[str, dict[str, float]]:
    """By experiment that measures divergences, and by column, the largest one (nats) between two orders of
    the same computation, of at most SAMPLE tokens of a prompt, evenly spread.
    """
    vlm, places = asked.vlm, asked.places
    alone = VLM(vlm.model, vlm.processor, vlm.name, pass_tokens=1, options=vlm.options)
    sample = torch.arange(0, len(places), -(-len(places) // SAMPLE))
    floors = {}
    for number, name in enumerate(probes(len(asked.questions))):
        if name in needs:
            part = replace(asked.prompt(number), visual=asked.content.take(sample))
            prompts = [probe.keep_only(part, [i]) for i in range(len(sample))]
            said = (vlm.logits(prompts), alone.logits(prompts))
            floors[name] = {"blind_divergence": float(jensen_shannon(*said).max())}
    ablations: dict[str, Callable[[VLM], ablation.LogitPair]] = {
        "regional": lambda reader: ablation.ablate_regional(reader, asked.prompt(0), sample.tolist()),
        "global": lambda reader: ablation.ablate_global(reader, asked.whole, places[sample].tolist()),
    }
    for name, ablate in ablations.items():
        if name in needs:
            together, apart = ablate(vlm), ablate(alone)
            floors[name] = {
                measure: max(
                    float(divergence(together.intact, apart.intact).max()),
                    float(divergence(together.ablated, apart.ablated).max()),
                )
                for measure, divergence in MEASURES.items()
            }
    return floors
