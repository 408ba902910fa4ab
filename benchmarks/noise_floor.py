"""What the noise floor of `redundancy/probe.py` stands on: how far rounding alone moves a token's words, and
how many tokens of a model lie where.

"rounding": the same tokens read in batches and one by one, in float32 and in bfloat16. "below": how many
tokens have a divergence from the blind answer below each edge. "reader": what a reader of one word can make
of a divergence at the floor, at most.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from wordsight import VLM
from wordsight._utils.files import replacing
from wordsight.algorithms.divergence import jensen_shannon
from wordsight.evaluation.environment import environment
from wordsight.media.images import find_pictures, load_picture
from wordsight.models.prompt import Prompt
from wordsight.redundancy.probe import NOISE_FLOOR, QUESTION, keep_only, probe_tokens
from wordsight.synthetic.scenes import save_scenes

HERE = Path(__file__).parent
RESULT = HERE / "results" / "noise_floor.json"
EDGES = (1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 2e-3, 3e-3, 5e-3, 7e-3, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5)
NOISY, READ_AGAIN = 4, 16  # pictures that are read again, and tokens of each


def measure(
    models: Annotated[list[str], typer.Argument(help="folders or names")],
    images: Annotated[Path | None, typer.Option(help="a folder of pictures; rendered scenes if none")] = None,
    pictures: Annotated[int, typer.Option(help="so many of them, evenly spread")] = 12,
) -> None:
    """Add what is found of these models to results/noise_floor.json."""
    record: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"models": {}}
    record |= {"floor_nats": NOISE_FLOOR, "reader": reader(NOISE_FLOOR)}
    with TemporaryDirectory() as folder:
        found = find_pictures(images) if images else save_scenes(folder, pictures, "validation")
        spread = found[:: max(1, len(found) // pictures)][:pictures]
        for name in models:
            record["models"][Path(name).name] = {
                "pictures": "photos" if images else "rendered scenes",
                **of_model(name, spread),
            }
            with replacing(RESULT) as draft:
                draft.write_text(json.dumps(record, indent=1) + "\n")


def reader(nats: float) -> dict[str, float]:
    """What a Jensen-Shannon divergence is worth to who reads one word and has to tell whether the model saw
    the token or none, each as often: the bits that the word tells, and how often at most the guess is right.

    The bits are the divergence itself. Right is (1 + V) / 2 for the total variation V, and the divergence is
    at least ln 2 minus the entropy of that in nats (Lin, 1991, theorem 4), solved for V here.
    """
    low, high = 0.5, 1.0
    for _ in range(60):
        right = (low + high) / 2
        entropy = -sum(p * math.log(p) for p in (right, 1 - right) if p)
        low, high = (right, high) if math.log(2) - entropy < nats else (low, right)
    return {"bits": nats / math.log(2), "right_at_most": low}


def of_model(name: str, pictures: list[Path]) -> dict[str, Any]:
    """Both measurements of one model."""
    vlm = VLM.from_pretrained(name, dtype=torch.float32)
    divergences = torch.cat([blind_divergence(vlm, asked(vlm, path)) for path in pictures]).double()
    exact, rounding = rereadings(vlm, pictures[:NOISY]), {}
    rounding["float32, batch against one by one"] = apart(exact["batch"], exact["one by one"])
    described = environment(vlm)
    rough = rereadings(VLM.from_pretrained(name, dtype=torch.bfloat16), pictures[:NOISY])
    rounding["bfloat16, batch against one by one"] = apart(rough["batch"], rough["one by one"])
    rounding["bfloat16 against float32"] = apart(rough["batch"], exact["batch"])
    return {
        "rounding": rounding,
        "tokens": len(divergences),
        "of_pictures": len(pictures),
        "below": {f"{edge:g}": int((divergences < edge).sum()) for edge in EDGES},
        "share_below_floor": float((divergences < NOISE_FLOOR).double().mean()),
        "share_below_half_and_twice_the_floor": [
            float((divergences < NOISE_FLOOR * factor).double().mean()) for factor in (0.5, 2)
        ],
        "least": float(divergences.min()),
        "environment": described,
    }


def asked(vlm: VLM, path: Path) -> Prompt:
    """The prompt of the paper's question about a picture."""
    return vlm.encode(load_picture(path), QUESTION)


def blind_divergence(vlm: VLM, prompt: Prompt) -> Tensor:
    """(N,) of every token."""
    return probe_tokens(vlm, prompt).blind_divergence


def rereadings(vlm: VLM, pictures: list[Path]) -> dict[str, Tensor]:
    """(2, R, V) logits of some tokens alone and of no token, read in batches that share the computation of
    their beginning, and one by one.
    """
    found = defaultdict(list)
    for path in pictures:
        prompt = asked(vlm, path)
        some = range(0, len(prompt.visual), len(prompt.visual) // READ_AGAIN)
        prompts, blind = [keep_only(prompt, [i]) for i in some], keep_only(prompt, [])
        read = {
            "batch": vlm.logits(prompts),
            "one by one": torch.cat([vlm.logits([one]) for one in prompts]),
        }
        for name, logits in read.items():
            found[name].append(torch.stack([logits, vlm.logits([blind]).expand_as(logits)]))
    return {name: torch.cat(parts, 1) for name, parts in found.items()}


def apart(one: Tensor, other: Tensor) -> dict[str, float]:
    """How far two readings (2, R, V) of the same tokens are apart, in nats: their largest and median
    divergence, that of the answers without any token, by how much a token's divergence from those moves, and
    the share of the tokens that it moves over the floor.
    """
    between = jensen_shannon(one[0], other[0])
    first, second = jensen_shannon(*one), jensen_shannon(*other)
    return {
        "most": float(between.max()),
        "median": float(between.median()),
        "blind": float(jensen_shannon(one[1], other[1]).max()),
        "blind_divergence_moves_by_most": float((first - second).abs().max()),
        "moves_over_the_floor": float(((first < NOISE_FLOOR) != (second < NOISE_FLOOR)).double().mean()),
    }


if __name__ == "__main__":
    typer.run(measure)
