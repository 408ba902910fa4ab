"""What choosing tokens costs beside reading the prompt, at the size of LLaVA-1.5-7B: tokens of 4,096 numbers,
64 tokens of text, 32 layers.

Tokens, signals and prototypes are random, and the tokens are one picture's: methods that share their budget
among parts of a picture or frames of a film have less to compare there. Reading is counted, not run: its
operations, of causal attention a half, at the rate of a product of matrices of the model's size on the same
core. Signals are there before: collecting those of the vision tower, and comparing with all words of the
vocabulary, is not in these times.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import thread_time
from typing import Any

import torch

from pages import PAGE, write_between
from wordsight import Codebook, pruners
from wordsight._utils.files import replacing
from wordsight._utils.progress import track
from wordsight.evaluation.environment import machine
from wordsight.models.tokens import VisualTokens
from wordsight.models.vision_tower import BY_LAYER
from wordsight.pruners.base import Pruner
from wordsight.pruners.book import BookPruner
from wordsight.pruners.layerwise import LayerPruner
from wordsight.pruners.scorer import ScorerPruner
from wordsight.redundancy.codebook_config import FORMAT
from wordsight.redundancy.scorer import Fitting, Scorer
from wordsight.reports.formats import markdown
from wordsight.reports.tables import Table

HERE = Path(__file__).parent
SIZES = {(24, 24): 3, (48, 60): 3, (100, 200): 1}  # rows and columns: rounds
TEXT, WIDTH, INNER, LAYERS = 64, 4096, 11_008, 32
PROTOTYPES = 454  # of the authors' released book for LLaVA-1.5-7B
HEADS, HEAD = 16, 64  # of the vision tower
TOWER_LAYERS = 23  # up to the one that is projected
KEEP = 0.2
LIMIT = 10  # CPU seconds: what takes longer by its growth is not run
LONG = 0.2  # CPU seconds, beside which the first allocation is nothing


def main() -> None:
    """Write results/selection_cost.json and its table."""
    torch.set_num_threads(1)
    methods = before_the_model()
    taken: dict[str, dict[int, list[float]]] = {name: {} for name in methods}  # CPU seconds by tokens
    reading, skipped = dict[int, float](), dict[str, float]()
    for (height, width), rounds in SIZES.items():
        tokens = drawn_tokens(height, width)
        count = len(tokens)
        expected = {name: grown(times, count) for name, times in taken.items()}
        skipped |= {name: spent for name, spent in expected.items() if spent > LIMIT}
        rates = []
        for _ in track(range(rounds), f"{count} tokens", rounds):
            rates.append(rate(count + TEXT))
            for name in [each for each in methods if each not in skipped]:
                taken[name].setdefault(count, []).append(seconds(methods[name].prune, tokens))
        reading[count] = operations(count + TEXT) / median(rates)
    shares = {
        name: {
            count: [each(spent) / reading[count] for each in (median, min, max)]
            for count, spent in times.items()
        }
        for name, times in taken.items()
    }
    record: dict[str, Any] = {
        "share_of_prefill": shares,
        "limit_cpu_seconds": LIMIT,
        "not_run_over_the_limit_by_growth": {name: spent / reading[count] for name, spent in skipped.items()},
        "prefill_cpu_seconds": reading,
        "rounds": dict(zip(reading, SIZES.values(), strict=True)),
        "keep": KEEP,
        "prototypes": PROTOTYPES,
        "command": "python benchmarks/selection_cost.py",
        "environment": machine(),
    }
    with replacing(HERE / "results" / "selection_cost.json") as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")
    write_between(PAGE, "selection cost", markdown(table(record)))


def table(record: dict[str, Any]) -> Table:
    """The cheapest first, at the second of the numbers of tokens."""
    counts, skipped = list(record["prefill_cpu_seconds"]), record["not_run_over_the_limit_by_growth"]
    body = [
        (name, *(cell(share[n]) if n in share else f"over {100 * skipped[name]:.1f} %" for n in counts))
        for name, share in sorted(record["share_of_prefill"].items(), key=lambda item: item[1][counts[1]])
    ]
    return Table("Selection beside prefill", ("pruner", *(f"{n:,} tokens" for n in counts)), body)


def cell(share: list[float]) -> str:
    """Percent, with the lowest and the highest of several rounds."""
    middle, low, high = (f"{100 * each:.2f}" for each in share)
    return f"{middle} % [{low}, {high}]" if low != high else f"{middle} %"


def grown(times: dict[int, list[float]], count: int) -> float:
    """The seconds that so many tokens will take at least: time grows as it did between fewer, or with the
    square if that is more; 0 if not known.
    """
    if len(times) < 2:
        return 0
    (few, less), (many, more) = [(number, median(spent)) for number, spent in times.items()][-2:]
    power = max(2, math.log(more / less) / math.log(many / few))
    return float(more * (count / many) ** power)


def operations(length: int) -> int:
    """What reading so many tokens takes, in floating-point operations."""
    weights = 4 * WIDTH**2 + 3 * WIDTH * INNER
    return LAYERS * (2 * weights * length + 2 * WIDTH * length**2)


def rate(length: int) -> float:
    """Operations a CPU second of a product of the model's size, in the faster of two dtypes."""
    rows, rates = min(length, 1024), []
    for dtype in (torch.bfloat16, torch.float32):
        inputs, weights = torch.randn(rows, WIDTH).to(dtype), torch.randn(INNER, WIDTH).to(dtype)
        rates.append(2 * rows * WIDTH * INNER / seconds(torch.nn.functional.linear, inputs, weights))
    return max(rates)


def before_the_model(known: Collection[str] | None = None) -> dict[str, Pruner]:
    """Every method of the experiment that chooses before the language model, or those of them that an earlier
    version knows, with random prototypes and layers in place of a codebook and a scorer.
    """
    names = json.loads((HERE / "experiments" / "pruners.json").read_text())["pruner"]
    if known is not None:
        names = [name for name in names if name.partition(":")[0] in known]
    book = Codebook(
        torch.randn(PROTOTYPES, WIDTH), {"format": FORMAT, "model": "random numbers", "fingerprint": None}
    )
    methods = {name: replace(pruners.make(name), keep=KEEP) for name in names if "codebook=" not in name}
    for name, method in methods.items():
        if isinstance(method, BookPruner):
            methods[name] = replace(method, codebook=book)
        if isinstance(method, ScorerPruner):
            methods[name] = replace(method, scorer=drawn_scorer())
    return {name: method for name, method in methods.items() if not isinstance(method, LayerPruner)}


def drawn_scorer() -> Scorer:
    """A scorer of random layers, as large as by default."""
    hidden = Fitting().hidden
    layers = {"first": torch.randn(hidden, 1 + WIDTH) / WIDTH, "second": torch.randn(1, 1 + hidden)}
    config: Any = {"model": "random numbers", "fingerprint": ""}
    return Scorer(layers, config)


def drawn_tokens(height: int, width: int) -> VisualTokens:
    """Random tokens of one picture with all signals there are."""
    count = height * width
    places = torch.arange(count)
    zero = torch.zeros_like(places)
    signals = {
        **{f"cls_{name}": torch.rand(count) for name in ("attention", "similarity")},
        **{f"cls_attention_{name}": torch.rand(count) for name in ("first", "undivided")},
        "features": torch.randn(count, HEADS * HEAD),
        "keys": torch.randn(count, HEADS, HEAD),
        "keys_last": torch.randn(count, HEADS, HEAD),
        "question": torch.rand(count, TEXT) * 2 - 1,
        "nearest_word": torch.randint(2000, (count,)),
        "word_similarity": torch.rand(count),
        **{name: torch.rand(count, TOWER_LAYERS) for name in sorted(BY_LAYER)},
    }
    cell = torch.stack([zero, zero, places // width, places % width], 1)
    embeds = torch.randn(count, WIDTH).bfloat16()
    return VisualTokens(embeds, places, cell, signals=signals)


@torch.no_grad()
def seconds(work: Callable[..., Any], *given: Any) -> float:
    """The CPU seconds of a call, after one that allocates and plans unless that is long."""
    for _ in range(2):
        began = thread_time()
        work(*given)
        spent = thread_time() - began
        if spent > LONG:
            break
    return spent


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
