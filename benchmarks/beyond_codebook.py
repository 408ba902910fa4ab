"""Is there better than a codebook? Priors of a selector by diversity, on validation scenes only.

A prior is a score of tokens, scaled to [0, 1] in a picture and added to the distances of DivPrune as in
`learned_mmr`. Its weight is chosen on the first validation scenes, for the model that ships at the smallest
keep. All priors, and random scores for a control, are measured on the next ones, for other models at the
smallest keep. The test split is never read. What is found is kept in a folder: a stopped run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench import Sizes
from gates import MODELS, SHIPPED
from pages import write_between
from verdict import plain_book
from wordsight import (
    VLM,
    ClsTopK,
    DivPrune,
    Evidence,
    EvidencePlan,
    LearnedMMR,
    Pruner,
    Random,
    collect_evidence,
    fit_scorer,
)
from wordsight._utils.files import replacing
from wordsight._utils.numbers import signed
from wordsight._utils.progress import track
from wordsight.algorithms.divergence import jensen_shannon
from wordsight.evaluation.calibration import KEEPS
from wordsight.evaluation.environment import environment
from wordsight.evaluation.prepared_task import PreparedTask
from wordsight.evaluation.statistics import DIFFERENCES, Scores, interval
from wordsight.models.tokens import VisualTokens
from wordsight.redundancy.criteria import CRITERIA, DEFAULT
from wordsight.synthetic.questions import ask
from wordsight.synthetic.scenes import SPLITS, render, save_scenes
from wordsight.tasks.base import Example
from wordsight.tasks.scenes import Scenes

HERE = Path(__file__).parent
RESULT, PAGE = HERE / "results" / "beyond_codebook.json", HERE.parent / "docs" / "results.md"
SMALLEST = min(KEEPS)
EXAMINED = {"1": 150, "0": 50, "2": 50}  # training scenes by model
CHOOSING, TESTING = range(400), range(400, 700)  # validation scenes
QUESTIONS = 2  # about each
TASK = Scenes(split="validation", pictures=TESTING.stop)
WEIGHTS = (1 / 6, 1 / 3, 1 / 2)
ASKED, SETS, SIZES = 4, 24, (5, 20)  # of a training scene: questions, sets of tokens for each, their sizes
DIVPRUNE, SAYING, ATTENTION, CONTROL = "divprune", "what tokens say", "[CLS] attention", "random scores"
BOOK, OWN = "what a codebook says", "effect on own questions"
CONDITION = CRITERIA["blind_divergence"].at(0.3)  # that of the book that ships
PRIORS = (SAYING, BOOK, OWN, ATTENTION)
PAIRS = [(prior, DIVPRUNE) for prior in (*PRIORS, CONTROL)]  # of every model
PAIRS += [(prior, other) for prior in (SAYING, BOOK, OWN) for other in (ATTENTION, CONTROL)]
BASELINES = {"random tokens": Random(), "[CLS] attention alone": ClsTopK()}
Found = dict[str, dict[tuple[str, float], Scores]]  # by model, and by method and keep


@dataclass(kw_only=True)
class PriorMMR(LearnedMMR):
    """`learned_mmr` with any score in the place of a scorer's."""

    prior: Callable[[VisualTokens], Tensor] = field(repr=False)

    def relevance(self, tokens: VisualTokens) -> Tensor:
        return self.prior(tokens)


@dataclass(frozen=True)
class Bench:
    """One model; its evidence and its scores are kept in the folder."""

    vlm: VLM
    folder: Path
    examined: int
    tasks: dict[range, PreparedTask] = field(default_factory=dict)

    def scores(self, scenes: range, name: str, pruner: Pruner) -> Scores:
        path = self.folder / f"from {scenes.start}" / f"{name}, {pruner.keep}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            found = self._prepared(scenes).run(pruner)[0]
            with replacing(path) as draft, draft.open("wb") as file:
                np.save(file, found)
        scores: Scores = np.load(path)
        return scores

    def _prepared(self, scenes: range) -> PreparedTask:
        if scenes not in self.tasks:
            needed = ClsTopK.required_signals
            self.tasks[scenes] = PreparedTask.of(self.vlm, TASK, asked(scenes), signals=needed)
        return self.tasks[scenes]


def asked(scenes: range) -> list[Example]:
    """The questions about these scenes."""
    first = TASK.first(QUESTIONS * scenes.stop, pictures=scenes.stop)
    return [example for example in first if int(example.picture_id) in scenes]


def measure(
    folder: Annotated[Path, typer.Argument(help="for evidence and scores")],
    models: Annotated[int, typer.Option(help="so many, the one that ships first")] = len(MODELS),
) -> None:
    """Write results/beyond_codebook.json and its table in docs/results.md."""
    benches = {
        seed: Bench(VLM.from_pretrained(name), folder / seed, EXAMINED[seed])
        for seed, name in [*MODELS.items()][:models]
    }
    tried = choose(benches[SHIPPED])
    weights = {name: max(found, key=found.__getitem__) for name, found in tried.items()}
    found: Found = {}
    for seed, bench in benches.items():
        methods = methods_of(bench, weights)
        keeps = KEEPS if seed == SHIPPED else (SMALLEST,)
        methods |= BASELINES if seed == SHIPPED else {}
        found[seed] = {
            (name, keep): bench.scores(TESTING, name, replace(pruner, keep=keep))
            for keep in keeps
            for name, pruner in methods.items()
        }
    record = {
        "choosing": f"validation scenes {CHOOSING.start} to {CHOOSING.stop - 1}",
        "testing": f"validation scenes {TESTING.start} to {TESTING.stop - 1}",
        "questions_of_a_scene": QUESTIONS,
        "first_training_scenes": {seed: EXAMINED[seed] for seed in benches},
        "tried": tried,
        "weights": weights,
        **compared(found),
        "environments": [environment(bench.vlm) for bench in benches.values()],
    }
    with replacing(RESULT) as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")
    write_between(PAGE, "beyond_codebook", table(record))


def choose(bench: Bench) -> dict[str, dict[float, float]]:
    """The accuracy with every prior at every weight, at the smallest keep."""
    return {
        name: {
            weight: float(
                bench.scores(
                    CHOOSING, f"{name}, weight {weight:.2f}", replace(prior, weight=weight, keep=SMALLEST)
                ).mean()
            )
            for weight in WEIGHTS
        }
        for name, prior in priors_of(bench).items()
    }


def collected(bench: Bench) -> Evidence:
    """What every token of the training scenes says alone, to the paper's question."""
    with TemporaryDirectory() as pictures:
        plan = EvidencePlan(condition=DEFAULT)
        return collect_evidence(
            bench.vlm, save_scenes(pictures, bench.examined), bench.folder / "evidence", plan
        )


def priors_of(bench: Bench) -> dict[str, LearnedMMR]:
    evidence, direction = collected(bench), effect_on_answers(bench)
    book = plain_book(evidence, CONDITION, Sizes().book)
    return {
        SAYING: LearnedMMR(scorer=fit_scorer(evidence)),
        BOOK: PriorMMR(prior=lambda tokens: -book.redundancy(tokens.embeds)),
        OWN: PriorMMR(prior=lambda tokens: tokens.embeds.double() @ direction),
        ATTENTION: PriorMMR(prior=lambda tokens: tokens.signals["cls_attention"]),
    }


def effect_on_answers(bench: Bench) -> Tensor:
    """(D,) the direction in which tokens bring answers to the task's own questions nearer to those to the
    whole picture, beside a few random others: ridge regression, as strong as the evidence.
    """
    path = bench.folder / "effects.safetensors"
    if not path.exists():
        with replacing(path) as draft:
            save_file(effects(bench), draft)
    found = {name: values.double() for name, values in load_file(path).items()}
    mean, spread = found["embeds"].mean(0), found["embeds"].std(0)
    inputs, effect = (found["embeds"] - mean) / spread, found["effect"] - found["effect"].mean()
    strength = len(inputs) * torch.eye(inputs.shape[1], dtype=torch.double)
    direction: Tensor = torch.linalg.solve(inputs.T @ inputs + strength, inputs.T @ effect) / spread
    return direction


def effects(bench: Bench) -> dict[str, Tensor]:
    """Of every token "embeds" (T, D) and "effect" (T,): by how much less than usual the first word of an
    answer differs from that to the whole picture where the token is in a random set of a few.
    """
    generator = torch.Generator().manual_seed(0)
    embeds, found = [], []
    vlm, first = bench.vlm, SPLITS["train"]
    for seed in track(range(first, first + bench.examined), "answering by a few tokens", bench.examined):
        scene = render(seed)
        texts = [question.text for question in ask(scene, seed) if question.type != "caption"][:ASKED]
        visual = vlm.encode(scene.image, texts[0]).visual
        gain = times = torch.zeros(len(visual))
        for text in texts:
            whole = vlm.encode(scene.image, text, visual=visual)
            sets = [
                torch.randperm(len(visual), generator=generator)[
                    : torch.randint(*SIZES, (), generator=generator)
                ]
                for _ in range(SETS)
            ]
            few = vlm.logits([replace(whole, visual=visual.take(each)) for each in sets])
            lost = jensen_shannon(few, vlm.logits([whole]).expand_as(few)).float()
            held = torch.stack([torch.zeros(len(visual)).index_fill(0, each, 1) for each in sets])
            gain, times = gain + (lost.mean() - lost) @ held, times + held.sum(0)
        embeds.append(visual.embeds.float())
        found.append(gain / times.clamp(min=1))
    return {"embeds": torch.cat(embeds), "effect": torch.cat(found)}


def methods_of(bench: Bench, weights: dict[str, float]) -> dict[str, Pruner]:
    """DivPrune, the priors with it, and random scores for a prior."""
    mixed = {name: replace(prior, weight=weights[name]) for name, prior in priors_of(bench).items()}
    control = PriorMMR(prior=Random().score, weight=weights[SAYING])
    return {DIVPRUNE: DivPrune(), **mixed, CONTROL: control}


def compared(found: Found) -> dict[str, Any]:
    """Accuracies, and paired differences, corrected for all of them: at every keep for the model that ships,
    and at the smallest in the mean of all models.
    """
    pairs = PAIRS + [(name, DIVPRUNE) for name in BASELINES]
    level = 1 - 0.05 / (len(pairs) * len(KEEPS) + len(PAIRS))
    pictures = [example.picture_id for example in asked(TESTING)]

    def difference(pair: tuple[str, str], keep: float, *models: str) -> list[float | None]:
        name, other = pair
        gap: Scores = np.mean([found[seed][name, keep] - found[seed][other, keep] for seed in models], 0)
        return [float(gap.mean()), *interval(gap, pictures, level, ends=DIFFERENCES)]

    return {
        "accuracy": {
            seed: {f"{name}, {keep:.0%}": float(scores.mean()) for (name, keep), scores in by_method.items()}
            for seed, by_method in found.items()
        },
        "level": level,
        "shipped": {
            " - ".join(pair): {f"{keep:.0%}": difference(pair, keep, SHIPPED) for keep in KEEPS}
            for pair in pairs
        },
        "all_models": {" - ".join(pair): difference(pair, SMALLEST, *found) for pair in PAIRS},
        "each_model": {
            " - ".join(pair): {seed: difference(pair, SMALLEST, seed) for seed in found} for pair in PAIRS
        },
    }


def table(record: dict[str, Any]) -> str:
    """Markdown: every difference, at the smallest keep in the mean of models too, if there are others."""
    keeps, models = [f"{keep:.0%}" for keep in KEEPS], len(record["environments"])
    others = [record["all_models"]] if models > 1 else []
    head = ["difference", *keeps, *[f"{keeps[-1]}, mean of {models} models" for _ in others]]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for pair, by_keep in record["shipped"].items():
        cells = [
            pair,
            *[signed(by_keep[keep]) for keep in keeps],
            *[signed(each.get(pair)) for each in others],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(measure)
