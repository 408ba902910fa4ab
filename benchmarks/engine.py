"""What it takes to read prompts: each alone, as one would write it, those alike after one beginning that is
repeated for each, and after one that is kept once, as is done; against the operations that nothing exact can
save. In one process, the ways in turn; seconds of one thread, or of a GPU, and the peak of memory beside the
model. And how much less the default `wordsight codebook build` takes than at another commit.

Every section is written when it is done: a run that was stopped goes on with `--only` what is left.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, thread_time
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from wordsight import VLM, collect_evidence
from wordsight._utils.files import replacing
from wordsight.evaluation.environment import environment
from wordsight.models.layer_hooks import decoder
from wordsight.models.prompt import Prompt
from wordsight.redundancy import ablation, probe
from wordsight.redundancy.collecting import EvidencePlan
from wordsight.redundancy.criteria import DEFAULT
from wordsight.synthetic.scenes import SPLITS, render, save_scenes

ROOT = Path(__file__).parents[1]
# Layers, their width, that of their MLP, and heads; the last is that of LLaVA-1.5-7B.
SHAPES = {
    "2 x 64": (2, 64, 128, 4),
    "12 x 1024": (12, 1024, 2816, 16),
    "32 x 4096": (32, 4096, 11008, 32),
}
# Of how many tokens each experiment is done where it would take too long of all; they are spread evenly.
SOME = {"probe": 16, "regional": 16, "global": 2}
MORE = {"probe": 96, "regional": 96, "global": 96}
GROWTH = {144: (12, 1), 576: (24, 1), 1152: (24, 2), 2880: (24, 5)}  # tokens: to a side, and pictures
PICTURES = (10, 100, 1000)
BUILT, SHARED = 20, 3  # pictures of a codebook, and in how many a prototype is at least one more of
BUILD = """
import sys, time
from wordsight import VLM
from wordsight.cli import main
VLM.from_pretrained()  # what is imported for it is no part of what is measured
began = time.process_time()
try:
    main()
finally:
    print(time.process_time() - began, file=sys.stderr)
"""


def random_model(shape: str, device: str, side: int = 24) -> VLM:
    """A LLaVA of random weights with pictures of side x side tokens, on a GPU in bfloat16."""
    embedded = VLM.from_pretrained(device="cpu")
    layers, width, inner, heads = SHAPES[shape]
    small = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**small, image_size=16 * side, patch_size=16, projection_dim=32),
        text_config=LlamaConfig(
            hidden_size=width,
            intermediate_size=inner,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            vocab_size=len(embedded.processor.tokenizer),
            max_position_embeddings=4096,
            pad_token_id=0,
        ),
        image_token_id=embedded.model.config.image_token_id,
        image_seq_length=side * side,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float32 if device == "cpu" else torch.bfloat16)
    with torch.device(device):
        model = LlavaForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    processor = copy.deepcopy(embedded.processor)
    images = processor.image_processor
    images.size = images.crop_size = {"height": 16 * side, "width": 16 * side}
    return VLM(model, processor, shape)


@contextmanager
def literal() -> Iterator[None]:
    """While open, every prompt is read alone, by the model's own call."""

    @torch.no_grad()
    def logits(vlm: VLM, prompts: Sequence[Prompt], *, after: Any = None) -> Iterator[Tensor]:
        for prompt in prompts:
            yield vlm.model(**prompt.inputs()).logits[:, -1].float()

    with patch.object(VLM, "logits_by_pass", logits):
        yield


@contextmanager
def repeating() -> Iterator[None]:
    """While open, models read as before: what is shared is repeated, and the last layer reads all tokens."""
    with (
        patch("wordsight.models.vlm.can_cascade", lambda *given: False),
        patch("wordsight.models.vlm.last_token_only", lambda model: nullcontext()),
    ):
        yield


WAYS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "literal": literal,
    "repeated": repeating,
    "ours": nullcontext,
}


def experiments(vlm: VLM, prompt: Prompt, most: dict[str, int]) -> dict[str, Callable[[], Any]]:
    """What is measured, by name: of the whole picture, or of so many tokens in the middle of it at most."""

    def middle(name: str) -> list[int]:
        count = len(prompt.visual)
        some = min(count, most.get(name, count))
        return list(range((count - some) // 2, (count + some) // 2))

    few = replace(prompt, visual=prompt.visual.take(torch.tensor(middle("probe"), device=vlm.model.device)))
    return {
        "probe": lambda: probe.probe_tokens(vlm, few),
        "regional": lambda: ablation.ablate_regional(vlm, prompt, middle("regional")),
        "global": lambda: ablation.ablate_global(vlm, prompt, middle("global")),
    }


def operations(vlm: VLM, work: Callable[[], Any]) -> float:
    """The floating-point operations that no exact reading of the prompts of this work can save: of every
    token that is another, or comes after others, once; of the last layer keys and values, and all the rest of
    the last tokens alone.
    """
    asked: list[Prompt] = []
    with patch.object(VLM, "check_lengths", lambda vlm, prompts, *given: asked.extend(prompts)):
        work()  # whatever is read is checked before
    after: dict[tuple[int, int], int] = {}
    attended, ends = 0, dict[int, int]()
    for prompt in asked:
        node = 0
        for place, token in enumerate(_read_tokens(prompt), 1):
            attended += place * ((node, token) not in after)
            node = after.setdefault((node, token), len(after) + 1)
        ends[node] = prompt.length
    layer, *others = decoder(vlm.model).layers
    attention = layer.self_attn
    every = _multiplications(layer)
    keys = _multiplications(attention.k_proj) + _multiplications(attention.v_proj)
    last = every - keys + _multiplications(vlm.model.lm_head)
    pairs = len(others) * attended + sum(ends.values())  # of a token and one that it attends to
    read = len(after) * (len(others) * every + keys) + len(ends) * last
    return float(2 * (read + 2 * pairs * attention.q_proj.out_features))


def _read_tokens(prompt: Prompt) -> Iterator[int]:
    """A number for every token that is read: the id, or a hash of the embedding."""
    row = prompt.row
    visual = iter(row.embeds.float().cpu().numpy())
    for token, is_visual in zip(row.sequence["input_ids"].tolist(), row.is_visual.tolist(), strict=True):
        yield hash(next(visual).tobytes()) if is_visual else token


def _multiplications(module: torch.nn.Module) -> int:
    """Of a token, by the matrices of a module."""
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, torch.nn.Linear))


def operations_per_second(vlm: VLM) -> float:
    """The fastest of five products of as many tokens as a pass has and the model's largest matrix."""
    weight = decoder(vlm.model).layers[0].mlp.up_proj.weight.detach()
    tokens = torch.randn(vlm.pass_tokens, weight.shape[1]).to(weight)
    fastest = min(timed(lambda: tokens @ weight.T, vlm)[0] for _ in range(5))
    return float(2 * len(tokens) * weight.numel() / fastest)


def timed(work: Callable[[], Any], vlm: VLM) -> tuple[float, float]:
    """Seconds, of one thread or of a GPU, and how many MiB of memory were taken at most beside what was."""
    if vlm.model.device.type == "cpu":
        ctypes.CDLL(None).malloc_trim(0)  # gives back what is free
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
    return int(re.findall(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[0])


def measure(vlm: VLM, rounds: int, most: dict[str, int], pictures: int = 1) -> dict[str, Any]:
    """By experiment: what every way takes, and by how much more than ours in every round; and how much more
    ours takes than its operations at the rate of a product of matrices.
    """
    images = [render(SPLITS["validation"] + number).image for number in range(pictures)]
    prompt = vlm.encode(images, probe.QUESTION)
    found = {}
    for name, work in experiments(vlm, prompt, most).items():
        needed = operations(vlm, work)
        spans: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        floors = []
        for _ in range(rounds):
            floors.append(needed / operations_per_second(vlm))
            for way, reading in WAYS.items():
                with reading():
                    spans[way].append(timed(work, vlm))
        seconds = {way: np.array([each[0] for each in spans[way]]) for way in WAYS}
        found[name] = {
            "tokens": min(len(prompt.visual), most.get(name, len(prompt.visual))),
            "seconds": {way: float(np.median(seconds[way])) for way in WAYS},
            "peak_mib": {way: max(each[1] for each in spans[way]) for way in WAYS},
            "times_ours": {way: (seconds[way] / seconds["ours"]).tolist() for way in WAYS if way != "ours"},
            "times_floor": (seconds["ours"] / floors).tolist(),
            "teraflop": needed / 1e12,
        }
        print(vlm.name, len(prompt.visual), name, json.dumps(found[name]), flush=True)
    return found


def frozen(vlm: VLM, pictures: int) -> dict[str, Any]:
    """The approximation of global ablation: how well it ranks, and how much faster it is."""
    ranks, ratios = [], []
    for number in range(pictures):
        prompt = vlm.encode(render(SPLITS["validation"] + number).image, probe.QUESTION)
        exact, _ = timed(lambda: ablation.ablate_global(vlm, prompt), vlm)  # noqa: B023  # called at once
        quick, _ = timed(lambda: ablation.ablate_global_frozen(vlm, prompt), vlm)  # noqa: B023
        ratios.append(exact / quick)
        ranks.append(ablation.frozen_correlation(vlm, prompt))
    known = [rank for rank in ranks if rank is not None]
    return {"spearman": ranks, "median_spearman": float(np.median(known)), "ratio": float(np.median(ratios))}


def over_tokens(rounds: int) -> dict[str, Any]:
    """Growth with the tokens of a prompt, of a tiny model."""
    return {
        str(tokens): measure(random_model("2 x 64", "cpu", side), rounds, MORE, pictures)
        for tokens, (side, pictures) in GROWTH.items()
    }


def over_pictures() -> dict[str, Any]:
    """Growth with the pictures whose tokens are examined, for the default criterion and by a tiny model."""
    vlm, found = random_model("2 x 64", "cpu", 12), {}
    with TemporaryDirectory() as folder:
        paths = save_scenes(Path(folder) / "pictures", max(PICTURES))
        for count in PICTURES:
            evidence = partial(collect_evidence, vlm, paths[:count], Path(folder) / str(count))
            seconds, peak = timed(partial(evidence, EvidencePlan(condition=DEFAULT)), vlm)
            found[str(count)] = {"seconds_a_picture": seconds / count, "peak_mib": peak}
    return found


def against(commit: str, rounds: int) -> dict[str, Any]:
    """What `wordsight codebook build` takes here and at another commit, by the default criterion and in turn,
    in processes of their own, and whether the books are the same.
    """
    git = ("git", "-C", str(ROOT))
    with TemporaryDirectory() as folder:
        other, pictures = Path(folder) / "other", Path(folder) / "pictures"
        save_scenes(pictures, BUILT)
        subprocess.run([*git, "worktree", "add", "--quiet", "--detach", other, commit], check=True)
        try:
            commit = subprocess.check_output([*git, "-C", other, "rev-parse", "HEAD"], text=True).strip()
            spans: dict[str, list[float]] = {"then": [], "now": []}
            for number in range(rounds):
                for name, source in (("then", other), ("now", ROOT)):
                    spans[name].append(_built(source, pictures, Path(folder) / f"{name}{number}"))
                    print(name, spans[name][-1], flush=True)
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", other], check=True)
        books = [(Path(folder) / name / "codebook.safetensors").read_bytes() for name in ("then0", "now0")]
    return {
        "commit": commit,
        "pictures": BUILT,
        "min_images": SHARED,
        "seconds": spans,
        "ratios": [then / now for then, now in zip(*spans.values(), strict=True)],
        "same_book": len(set(books)) == 1,
    }


def _built(source: Path, pictures: Path, book: Path) -> float:
    """Processor seconds of `codebook build` by the code in this checkout."""
    command = [sys.executable, "-c", BUILD, "codebook", "build", str(pictures), "--out", str(book)]
    command += ["--min-images", str(SHARED)]
    given = {**os.environ, "PYTHONPATH": str(source / "src"), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, env=given, stderr=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(run.stderr)
    return float(run.stderr.split()[-1])


def main() -> None:
    """Write results/engine.json, or of a GPU results/engine_gpu.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cuda measures the shape of a 7B")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", help="a section; again for more of them")
    parser.add_argument("--against", metavar="COMMIT", help="compare the default build, and do nothing else")
    given = parser.parse_args()
    torch.set_num_threads(1)
    demo = VLM.from_pretrained(device=given.device)
    sections: dict[str, Callable[[], dict[str, Any]]] = {
        "demo": lambda: measure(demo, given.rounds, {}),
        "frozen": lambda: frozen(demo, 8),
    }
    if given.device == "cpu":
        few = max(2, given.rounds // 2)
        sections["12 x 1024"] = lambda: measure(random_model("12 x 1024", "cpu"), few, SOME)
        sections["tokens"] = lambda: over_tokens(few)
        sections["pictures"] = over_pictures
    else:
        sections["32 x 4096"] = lambda: measure(random_model("32 x 4096", given.device), given.rounds, {})
    if given.against:
        sections = {"against": lambda: against(given.against, given.rounds)}
    results = ROOT / "benchmarks" / "results" / f"engine{'' if given.device == 'cpu' else '_gpu'}.json"
    for name in given.only or sections:
        found = sections[name]()
        done = {"command": " ".join(["python", *sys.argv]), "load": os.getloadavg()[0]}
        record = json.loads(results.read_text()) if results.exists() else {}
        record |= {name: found | done, "environment": environment(demo)}
        with replacing(results) as draft:
            draft.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
