"""What choosing tokens costs beside reading the prompt, at the size of LLaVA-1.5-7B: 576 visual tokens of
4,096 numbers, 64 tokens of text, 32 layers.

The weights are random, which changes no time; so are the tokens and their signals. Two layers are run and
counted sixteen times. Signals are there before: collecting those of the vision tower, and comparing with all
words of the vocabulary, is not in these times.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from transformers import LlamaConfig, LlamaModel

from run import PAGES, write_between
from wordsight import Codebook
from wordsight._utils.files import replacing
from wordsight._utils.progress import track
from wordsight.evaluation.environment import machine
from wordsight.evaluation.latency import median_interval
from wordsight.models.tokens import VisualTokens
from wordsight.pruners import make
from wordsight.pruners.base import Pruner
from wordsight.pruners.book import BookPruner
from wordsight.pruners.layerwise import LayerPruner
from wordsight.pruners.learned import Learned
from wordsight.redundancy.codebook import FORMAT
from wordsight.redundancy.scorer import Fitting, Scorer
from wordsight.reports.formats import markdown
from wordsight.reports.tables import Table

HERE = Path(__file__).parent
SIDE, TEXT, WIDTH = 24, 64, 4096
LAYERS, RUN = 32, 2
PROTOTYPES = 454  # of the authors' released book for LLaVA-1.5-7B
HEADS, HEAD = 16, 64  # of the vision tower
ROUNDS, KEEP = 11, 0.2


def main() -> None:
    """Write results/selection_cost.json and its table."""
    tokens, model = drawn_tokens(), layers()
    prompt = torch.randn(1, SIDE**2 + TEXT, WIDTH, dtype=torch.bfloat16)
    methods = before_the_model()
    prefill: list[float] = []
    taken: dict[str, list[float]] = {name: [] for name in methods}
    for number in track(range(1 + ROUNDS), "rounds", 1 + ROUNDS):
        spent = _seconds(lambda: model(inputs_embeds=prompt, use_cache=False)) * LAYERS / RUN
        for name, method in methods.items():
            own = _seconds(lambda method=method: method.prune(tokens))
            if number:  # the first round allocates and plans
                taken[name].append(own / spent)
        if number:
            prefill.append(spent)
    shares = {name: [median(values), *median_interval(values)] for name, values in taken.items()}
    record: dict[str, Any] = {
        "share_of_prefill": shares,
        "prefill_seconds_on_this_shared_machine": median(prefill),
        "rounds": ROUNDS,
        "keep": KEEP,
        "prototypes": PROTOTYPES,
        "command": "python benchmarks/selection_cost.py",
        "environment": machine(),
    }
    with replacing(HERE / "results" / "selection_cost.json") as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")
    for page in PAGES:
        write_between(page, "selection cost", markdown(table(shares)))


def table(shares: dict[str, list[float]]) -> Table:
    """The cheapest first."""
    body = [
        (name, f"{100 * middle:.3f} % [{100 * low:.3f}, {100 * high:.3f}]")
        for name, (middle, low, high) in sorted(shares.items(), key=lambda item: item[1])
    ]
    return Table("Selection beside prefill", ("pruner", "selection, share of prefill [95 %]"), body)


def before_the_model() -> dict[str, Pruner]:
    """Every method of the experiment that chooses before the language model, those with a codebook with one
    of random prototypes; and the learned one.
    """
    names = json.loads((HERE / "experiments" / "pruners.json").read_text())["pruner"]
    book = Codebook(
        torch.randn(PROTOTYPES, WIDTH), {"format": FORMAT, "model": "random numbers", "fingerprint": None}
    )
    methods = {name: replace(make(name), keep=KEEP) for name in names if "codebook=" not in name}
    return {
        name: replace(method, codebook=book) if isinstance(method, BookPruner) else method
        for name, method in methods.items()
        if not isinstance(method, LayerPruner)
    } | {"learned": Learned(keep=KEEP, scorer=drawn_scorer())}


def drawn_scorer() -> Scorer:
    """A scorer of random layers, as large as by default."""
    hidden = Fitting().hidden
    layers = {"first": torch.randn(hidden, 1 + WIDTH) / WIDTH, "second": torch.randn(1, 1 + hidden)}
    config: Any = {"model": "random numbers", "fingerprint": ""}
    return Scorer(layers, config)


def drawn_tokens() -> VisualTokens:
    """Random tokens of one picture with all signals there are."""
    count = SIDE**2
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
    }
    cell = torch.stack([zero, zero, places // SIDE, places % SIDE], 1)
    return VisualTokens(torch.randn(count, WIDTH), places, cell, signals=signals)


def layers() -> LlamaModel:
    """The first layers of a language model of that size, in bfloat16."""
    config = LlamaConfig(
        hidden_size=WIDTH,
        intermediate_size=11_008,
        num_hidden_layers=RUN,
        num_attention_heads=32,
        vocab_size=64,
    )
    return LlamaModel(config).to(torch.bfloat16).eval()


@torch.no_grad()
def _seconds(work: Any) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
