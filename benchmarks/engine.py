"""What it saves to keep what prompts begin with once: against repeating it for every prompt, in one process,
the two in turn; seconds of one thread, or of a GPU, and the peak of memory beside the model.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from wordsight import VLM
from wordsight._utils.files import replacing
from wordsight.evaluation.environment import environment
from wordsight.models.prompt import Prompt
from wordsight.redundancy import ablation, probe
from wordsight.synthetic.scenes import SPLITS, render

HERE = Path(__file__).parent
SIDE = 24  # tokens to a side of the picture of a random model
MIDDLE = SIDE * SIDE // 2
# Of a random model some tokens are enough: all of its prompts of an experiment are alike in their lengths.
SOME, ROWS = 32, 4
# Layers, their width, that of their MLP, and heads; the second is that of LLaVA-1.5-7B.
SHAPES = {
    "12 x 1024": (12, 1024, 2816, 16),
    "32 x 4096": (32, 4096, 11008, 32),
}


def random_model(shape: str, device: str) -> VLM:
    """A LLaVA of random weights with pictures of 24 x 24 tokens, on a GPU in bfloat16."""
    embedded = VLM.from_pretrained(device="cpu")
    layers, width, inner, heads = SHAPES[shape]
    small = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**small, image_size=384, patch_size=16, projection_dim=32),
        text_config=LlamaConfig(
            hidden_size=width,
            intermediate_size=inner,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            vocab_size=len(embedded.processor.tokenizer),
            pad_token_id=0,
        ),
        image_token_id=embedded.model.config.image_token_id,
        image_seq_length=SIDE * SIDE,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        attn_implementation="sdpa",
    )
    torch.set_default_dtype(torch.float32 if device == "cpu" else torch.bfloat16)
    with torch.device(device):
        model = LlavaForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    processor = copy.deepcopy(embedded.processor)
    processor.image_processor.size = processor.image_processor.crop_size = {"height": 384, "width": 384}
    return VLM(model, processor, shape)


@contextmanager
def repeating() -> Iterator[None]:
    """While open, models read as before: what is shared is repeated, and the last layer reads all tokens."""
    with (
        patch("wordsight.models.vlm.can_cascade", lambda *given: False),
        patch("wordsight.models.vlm.last_token_only", lambda model: nullcontext()),
    ):
        yield


def experiments(vlm: VLM, prompt: Prompt, *, whole: bool) -> dict[str, Callable[[], Any]]:
    """What is measured, by name: of the whole picture, or the same of some of its tokens."""
    if whole:
        return {
            "probe": lambda: probe.probe_tokens(vlm, prompt),
            "regional": lambda: ablation.ablate_regional(vlm, prompt),
            "global": lambda: ablation.ablate_global(vlm, prompt),
        }
    few = replace(prompt, visual=prompt.visual.take(torch.arange(SOME, device=prompt.visual.embeds.device)))
    return {
        "probe": lambda: probe.probe_tokens(vlm, few),
        "regional": lambda: ablation.ablate_regional(vlm, few),
        "global": lambda: vlm.logits([_changed(prompt, i) for i in range(ROWS)], after=vlm.begin(prompt)),
    }


def _changed(prompt: Prompt, number: int) -> Prompt:
    """The prompt with another token in the middle of its picture."""
    embeds = prompt.visual.embeds.clone()
    embeds[MIDDLE] = number
    return replace(prompt, visual=replace(prompt.visual, embeds=embeds))


def timed(work: Callable[[], Any], device: str) -> tuple[float, float]:
    """Seconds, of one thread or of a GPU, and how many MiB of memory were taken at most beside what was."""
    if device == "cpu":
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of before
        before, began = _resident("VmRSS"), thread_time()
        work()
        return thread_time() - began, (_resident("VmHWM") - before) / 1024
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before, began = torch.cuda.memory_allocated(), perf_counter()
    work()
    torch.cuda.synchronize()
    return perf_counter() - began, (torch.cuda.max_memory_allocated() - before) / 2**20


def _resident(name: str) -> int:
    """The KiB of this process that are, or were at most, in memory (Linux)."""
    return int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def measure(vlm: VLM, *, whole: bool, rounds: int, device: str) -> dict[str, Any]:
    """By experiment: both ways in turn, and their ratio in every round."""
    prompt = vlm.encode(render(SPLITS["validation"]).image, probe.QUESTION)
    found = {}
    for name, work in experiments(vlm, prompt, whole=whole).items():
        before, now = [], []
        for _ in range(rounds):
            with repeating():
                before.append(timed(work, device))
            now.append(timed(work, device))
        ratios = [old[0] / new[0] for old, new in zip(before, now, strict=True)]
        found[name] = {
            "ratio": float(np.median(ratios)),
            "ratios": ratios,
            "seconds_repeated": float(np.median([each[0] for each in before])),
            "seconds": float(np.median([each[0] for each in now])),
            "peak_mib_repeated": max(each[1] for each in before),
            "peak_mib": max(each[1] for each in now),
        }
        print(vlm.name, name, {key: np.round(value, 2) for key, value in found[name].items()}, flush=True)
    return found


def frozen(vlm: VLM, pictures: int, device: str) -> dict[str, Any]:
    """The approximation of global ablation: how well it ranks, and how much faster it is."""
    ranks, ratios = [], []
    for number in range(pictures):
        prompt = vlm.encode(render(SPLITS["validation"] + number).image, probe.QUESTION)
        exact, _ = timed(lambda: ablation.ablate_global(vlm, prompt), device)  # noqa: B023  # called at once
        quick, _ = timed(lambda: ablation.ablate_global_frozen(vlm, prompt), device)  # noqa: B023
        ratios.append(exact / quick)
        ranks.append(ablation.frozen_correlation(vlm, prompt))
    print("frozen", np.round(ranks, 3), np.round(ratios, 1), flush=True)
    return {"spearman": ranks, "median_spearman": float(np.median(ranks)), "ratio": float(np.median(ratios))}


def main() -> None:
    """Write results/engine.json, or of a GPU results/engine_gpu.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cuda measures the shape of a 7B")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    device, rounds = given.device, given.rounds
    torch.manual_seed(0)
    torch.set_num_threads(1)
    demo = VLM.from_pretrained(device=device)
    record: dict[str, Any] = {"demo": measure(demo, whole=True, rounds=rounds, device=device)}
    record["frozen"] = frozen(demo, 8, device)
    shape = "12 x 1024" if device == "cpu" else "32 x 4096"
    record[shape] = measure(
        random_model(shape, device), whole=device != "cpu", rounds=max(2, rounds // 2), device=device
    )
    record["command"] = f"python benchmarks/engine.py --device {device} --rounds {rounds}"
    record["environment"] = environment(demo)
    name = "engine.json" if device == "cpu" else "engine_gpu.json"
    with replacing(HERE / "results" / name) as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
