"""Is there better than a codebook? What tokens say as a prior of diversity, on validation only.

A prior is a score of tokens, which `learned_mmr` scales to [0, 1] in a picture and adds to the distances of
DivPrune. Its weight is chosen on the first validation scenes, for the model that ships at the smallest keep;
the table is of the next ones, and of three models. The test split is never read. Evidence and scores are kept
in a folder, so that a stopped run goes on.
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

from choose_codebook import CLUSTERING
from run import write_between
from wordsight import VLM, ClsTopK, DivPrune, EvidencePlan, LearnedMMR, Pruner, Random, collect_evidence
from wordsight._utils.files import replacing
from wordsight._utils.numbers import signed
from wordsight._utils.progress import track
from wordsight.algorithms.divergence import jensen_shannon
from wordsight.evaluation.calibration import KEEPS
from wordsight.evaluation.environment import environment
from wordsight.evaluation.prepared_task import PreparedTask
from wordsight.evaluation.statistics import Scores
from wordsight.models.tokens import VisualTokens
from wordsight.redundancy.build import build_codebook
from wordsight.redundancy.criteria import DEFAULT
from wordsight.redundancy.scorer import fit_scorer
from wordsight.synthetic.questions import ask
from wordsight.synthetic.scenes import SPLITS, render, save_scenes
from wordsight.tasks.scenes import Scenes

HERE = Path(__file__).parent
RESULT, PAGE = HERE / "results" / "beyond_codebook.json", HERE.parent / "docs" / "results.md"
MODELS = {"1": "demo", "0": str(HERE / "models" / "seed0"), "2": str(HERE / "models" / "seed2")}
EXAMINED = 150  # training scenes
CHOOSING, TESTING = range(400), range(400, 700)  # validation scenes
QUESTIONS = 2  # about each
WEIGHTS = (1 / 6, 1 / 3, 1 / 2)
ASKED, SETS, SIZES = 4, 12, (5, 20)  # of a training scene: questions, sets of tokens for each, their sizes
DIVERSITY, SAYING = "divprune", "what tokens say"
Prior = Callable[[VisualTokens], Tensor]


@dataclass(kw_only=True)
class PriorMMR(LearnedMMR):
    """`learned_mmr` with any score in the place of a scorer's."""

    prior: Prior = field(repr=False)

    def score(self, tokens: VisualTokens) -> Tensor:
        return self.prior(tokens)


@dataclass(frozen=True)
class Bench:
    """The validation scenes of one model; its scores are kept in the folder."""

    vlm: VLM
    folder: Path

    def prepared(self, scenes: range) -> PreparedTask:
        task = Scenes(split="validation", pictures=scenes.stop)
        asked = task.first(QUESTIONS * scenes.stop)
        examples = [example for example in asked if int(example.picture_id) in scenes]
        return PreparedTask.of(self.vlm, task, examples, signals=frozenset({"cls_attention"}))

    def scores(self, prepared: PreparedTask, name: str, pruner: Pruner, keep: float) -> Scores:
        part = "choosing" if prepared.examples[0].picture_id == "0" else "testing"
        path = self.folder / part / f"{name}, {keep}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            found = prepared.run(replace(pruner, keep=keep))[0]
            with replacing(path) as draft, draft.open("wb") as file:
                np.save(file, found)
        scores: Scores = np.load(path)
        return scores


def measure(folder: Annotated[Path, typer.Argument(help="for evidence and scores")]) -> None:
    """Write results/beyond_codebook.json and its table in docs/results.md."""
    benches = {seed: Bench(VLM.from_pretrained(name), folder / seed) for seed, name in MODELS.items()}
    priors = {seed: priors_of(bench, every=seed == "1") for seed, bench in benches.items()}
    tried = choose(benches["1"], priors["1"])
    weights = {name: max(found, key=found.__getitem__) for name, found in tried.items()}
    scores: dict[str, dict[str, dict[float, Scores]]] = {}  # by model, method and keep
    for seed, bench in benches.items():
        task = bench.prepared(TESTING)
        methods = methods_of(priors[seed], weights, every=seed == "1")
        scores[seed] = {
            name: {keep: bench.scores(task, name, pruner, keep) for keep in KEEPS}
            for name, pruner in methods.items()
        }
    record = {
        "task": {"choosing": _scenes(CHOOSING), "testing": _scenes(TESTING), "questions": len(task.examples)},
        "examined": f"the first {EXAMINED} training scenes",
        "tried": tried,
        "weights": weights,
        **compared(task, scores),
        "environments": [environment(bench.vlm) for bench in benches.values()],
    }
    with replacing(RESULT) as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")
    write_between(PAGE, "beyond_codebook", table(record))


def priors_of(bench: Bench, *, every: bool) -> dict[str, Prior]:
    """The priors of a model, all of them or those that all models are tried with."""
    plan = EvidencePlan(condition=DEFAULT)
    with TemporaryDirectory() as pictures:
        scenes = save_scenes(pictures, EXAMINED)
        evidence = collect_evidence(bench.vlm, scenes, bench.folder / "evidence", plan)
    scorer = fit_scorer(evidence)
    priors: dict[str, Prior] = {
        SAYING: lambda tokens: scorer.predict(tokens.embeds),
        "[CLS] attention": lambda tokens: tokens.signals["cls_attention"],
    }
    if every:
        book = build_codebook(evidence, DEFAULT, CLUSTERING)
        own = effect_on_answers(bench)
        priors["codebook"] = lambda tokens: -book.redundancy(tokens.embeds)
        priors["effect on own questions"] = lambda tokens: tokens.embeds.double() @ own
    return priors


def effect_on_answers(bench: Bench) -> Tensor:
    """(D,) the direction in which tokens bring answers to the task's questions nearer to those of the whole
    picture, if they are added to a few random others; by ridge regression, as strong as the evidence.
    """
    path = bench.folder / "effects.safetensors"
    if not path.exists():
        with replacing(path) as draft:
            save_file(effects(bench.vlm), draft)
    found = {name: values.double() for name, values in load_file(path).items()}
    centered = found["embeds"] - found["embeds"].mean(0)
    spread = centered.std(0)
    inputs, effect = centered / spread, found["effect"] - found["effect"].mean()
    strength = len(inputs) * torch.eye(inputs.shape[1], dtype=torch.double)
    return torch.linalg.solve(inputs.T @ inputs + strength, inputs.T @ effect) / spread


def effects(vlm: VLM) -> dict[str, Tensor]:
    """Of every token "embeds" (T, D) and "effect" (T,): by how much less than usual the first word of an
    answer differs from that to the whole picture where the token is in a random set of a few.
    """
    generator = torch.Generator().manual_seed(0)
    embeds, found = [], []
    for seed in track(range(SPLITS["train"], SPLITS["train"] + EXAMINED), "answering by a few", EXAMINED):
        scene = render(seed)
        asked = [question.text for question in ask(scene, seed) if question.type != "caption"][:ASKED]
        visual = vlm.encode(scene.image, asked[0]).visual
        gain = times = torch.zeros(len(visual))
        for text in asked:
            whole = vlm.encode(scene.image, text, visual=visual)
            order = torch.rand(SETS, len(visual), generator=generator).argsort(-1)
            held = order < torch.randint(*SIZES, (SETS, 1), generator=generator)
            few = vlm.logits([replace(whole, visual=visual.take(row.nonzero()[:, 0])) for row in held])
            lost = jensen_shannon(few, vlm.logits([whole]).expand_as(few)).float()
            gain, times = gain + (lost.mean() - lost) @ held.float(), times + held.sum(0)
        embeds.append(visual.embeds.float())
        found.append(gain / times.clamp(min=1))
    return {"embeds": torch.cat(embeds), "effect": torch.cat(found)}


def choose(bench: Bench, priors: dict[str, Prior]) -> dict[str, dict[float, float]]:
    """The accuracy with every prior at every weight, at the smallest keep."""
    task, keep = bench.prepared(CHOOSING), min(KEEPS)
    return {
        name: {
            weight: float(
                bench.scores(
                    task, f"{name}, weight {weight:.2f}", PriorMMR(prior=prior, weight=weight), keep
                ).mean()
            )
            for weight in WEIGHTS
        }
        for name, prior in priors.items()
    }


def methods_of(priors: dict[str, Prior], weights: dict[str, float], *, every: bool) -> dict[str, Pruner]:
    """What is measured of a model: DivPrune, every prior with it, and random scores for a prior."""
    methods: dict[str, Pruner] = {DIVERSITY: DivPrune()}
    methods |= {mixed(name): PriorMMR(prior=prior, weight=weights[name]) for name, prior in priors.items()}
    methods[mixed("random scores")] = PriorMMR(prior=Random().score, weight=weights[SAYING])
    return methods | ({"[CLS] attention": ClsTopK(), "random": Random()} if every else {})


def mixed(prior: str) -> str:
    return f"{prior} + diversity"


def compared(task: PreparedTask, scores: dict[str, dict[str, dict[float, Scores]]]) -> dict[str, Any]:
    """Accuracies, and paired differences to DivPrune and between the priors that all models are tried with:
    means over the models that a method is tried with, whose number is `models`.
    """
    pairs = [(name, DIVERSITY) for name in scores["1"] if name != DIVERSITY]
    pairs += [(mixed(SAYING), mixed(other)) for other in ("[CLS] attention", "random scores")]
    level = 1 - 0.05 / (len(pairs) * len(KEEPS))

    def difference(name: str, other: str, models: list[str], keep: float) -> list[float]:
        gap: Scores = np.mean([scores[seed][name][keep] - scores[seed][other][keep] for seed in models], 0)
        return [float(gap.mean()), *task.interval(gap, level)]

    having = {name: [seed for seed, found in scores.items() if name in found] for name in scores["1"]}
    return {
        "models": having,
        "accuracy": {
            seed: {
                name: {keep: float(each.mean()) for keep, each in by_keep.items()}
                for name, by_keep in found.items()
            }
            for seed, found in scores.items()
        },
        "level": level,
        "differences": [
            {
                "method": name,
                "minus": other,
                "by_keep": {keep: difference(name, other, having[name], keep) for keep in KEEPS},
                "by_model": {
                    seed: {keep: difference(name, other, [seed], keep) for keep in KEEPS}
                    for seed in having[name]
                },
            }
            for name, other in pairs
        ],
    }


def table(record: dict[str, Any]) -> str:
    """Markdown: every difference, in its mean over models."""
    lines = [f"| | models |{''.join(f' {keep:.0%} |' for keep in KEEPS)}", "|---" * (2 + len(KEEPS)) + "|"]
    for each in record["differences"]:
        cells = [signed(each["by_keep"][keep]) for keep in KEEPS]
        lines.append(
            f"| {each['method']} - {each['minus']} | {len(each['by_model'])} | {' | '.join(cells)} |"
        )
    return "\n".join(lines) + "\n"


def _scenes(numbers: range) -> str:
    return f"validation scenes {numbers.start} to {numbers.stop - 1}, {QUESTIONS} questions about each"


if __name__ == "__main__":
    typer.run(measure)
