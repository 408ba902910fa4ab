"""The verdict on language-defined redundancy, for one model: docs/findings.md says what is measured and why.

Run it for every model, then pool.py. Evidence is kept, so that a stopped run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
import typer
from safetensors.numpy import save_file
from torch import Tensor

from choose_codebook import CLUSTERING
from wordsight import VLM, Clustering, Codebook, CodebookPruner, Evidence, Pruner, UsageError
from wordsight._utils.files import replacing
from wordsight.algorithms.selection import cosine_distance, farthest_first
from wordsight.evaluation.calibration import KEEPS, candidates
from wordsight.evaluation.environment import environment
from wordsight.evaluation.prepared_task import PreparedTask
from wordsight.evaluation.statistics import Scores
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import ScorePruner
from wordsight.pruners.cls_topk import ClsTopK
from wordsight.pruners.codebook_mmr import CodebookMMR
from wordsight.pruners.divprune import DivPrune
from wordsight.pruners.random import Random
from wordsight.pruners.uniform import Uniform
from wordsight.redundancy.build import build_codebook, random_codebook
from wordsight.redundancy.collecting import collect_evidence
from wordsight.redundancy.criteria import CRITERIA, Condition
from wordsight.synthetic.scenes import SPLITS, render, save_scenes
from wordsight.tasks.base import Example
from wordsight.tasks.scenes import Scenes

HERE = Path(__file__).parent
WEIGHT = 0.5  # of the criterion beside diversity
VALIDATION, TEST = 400, 800  # questions
Known = dict[bytes, dict[str, Tensor]]  # what is known of the tokens of a picture, by their embeddings


def key(embeds: Tensor) -> bytes:
    """What a picture is looked up by."""
    return embeds.float().numpy().tobytes()


@dataclass(kw_only=True)
class Direct(ScorePruner):
    """The probe itself on every picture, no codebook: keeps what a criterion calls least redundant.

    With a weight, one minus the share of diversity: greedy, as codebook_mmr.
    """

    condition: Condition
    known: Known = field(repr=False)
    weight: float = 1.0

    def score(self, tokens: VisualTokens) -> Tensor:
        return self.condition.information(self.known[key(tokens.embeds)])

    def select(self, tokens: VisualTokens) -> VisualTokens:
        if self.weight == 1:
            return super().select(tokens)
        bonus = self.weight / (1 - self.weight) * self.score(tokens)
        return tokens.take(farthest_first(cosine_distance(tokens.embeds), self.count(tokens), bonus))


@dataclass(kw_only=True)
class TrueObjects(Random):
    """Random tokens of true objects first, then random others."""

    known: Known = field(default_factory=dict, repr=False)

    def score(self, tokens: VisualTokens) -> Tensor:
        return self.known[key(tokens.embeds)]["object"] + super().score(tokens)


Method = Callable[[float], Pruner]  # the pruner of a method at a keep


def judge(
    model: Annotated[str, typer.Argument(help="demo, or the folder of a model of another training seed")],
    evidence_root: Annotated[Path, typer.Argument(help="where evidence is, or is to be collected")],
    name: Annotated[str, typer.Option(help="of the results: verdict_NAME.json")] = "1",
    pictures: Annotated[int, typer.Option(help="training scenes for the codebooks")] = 320,
    other: Annotated[str | None, typer.Option(help="a model of another seed, whose book is tried")] = None,
) -> None:
    """Choose on the validation split, then score every method once on the test split."""
    vlm = VLM.from_pretrained(model)
    evidence = collected(vlm, evidence_root, "train", pictures)
    validation = PreparedTask.of(
        vlm, task := Scenes(split="validation", pictures=400), _first(task, VALIDATION)
    )
    books = candidates(evidence, CLUSTERING)
    tried = {label: _mean(validation, book_method(book)) for label, book in books.items()}
    chosen = {
        name: max(labels, key=tried.__getitem__)
        for name in CRITERIA
        if (labels := [label for label in books if label.split(" q")[0] == name])
    }
    best = max(chosen.values(), key=tried.__getitem__)
    condition = CRITERIA[best.split(" q")[0]].at(float(best.partition(" q")[2] or 1))
    settings = _vary(validation, evidence, condition)
    test = PreparedTask.of(
        vlm, task := Scenes(pictures=400), _first(task, TEST), signals=frozenset({"cls_attention"})
    )
    known = _known(vlm, test, evidence_root)
    methods = _methods(evidence, {name: books[label] for name, label in chosen.items()}, known)
    if other:
        theirs = collected(VLM.from_pretrained(other), evidence_root, "train", pictures)
        foreign = build_codebook(theirs, condition, CLUSTERING)
        methods["book of another seed's model"] = book_method(foreign)
    scores = {
        f"{method} | {keep}": test.run(make(keep))[0] for method, make in methods.items() for keep in KEEPS
    }
    scores |= {"all visual tokens": test.whole, "no visual tokens": test.blind}
    record: dict[str, Any] = {
        "chosen_on_validation": chosen,
        "validation": tried,
        "settings_on_validation": settings,
        "test": {method: float(values.mean()) for method, values in scores.items()},
        "questions": [[example.picture_id, example.type] for example in test.examples],
        "environment": environment(vlm),
    }
    results = HERE / "results"
    with replacing(results / f"verdict_{name}.safetensors") as draft:
        save_file({method: values.astype(np.float32) for method, values in scores.items()}, draft)
    with replacing(results / f"verdict_{name}.json") as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")


def _first(task: Scenes, count: int) -> list[Example]:
    """The first questions, picture after picture, as the protocol has them."""
    return list(islice(task.examples(), count))


def collected(vlm: VLM, root: Path, split: str, pictures: int) -> Evidence:
    """The evidence of the first scenes of a split, kept under `root`."""
    with TemporaryDirectory() as folder:
        return collect_evidence(
            vlm, save_scenes(folder, pictures, split), root / f"{vlm.fingerprint}-{split}"
        )


def known_objects(prepared: PreparedTask) -> Known:
    """Which tokens of every picture of the task belong to a true object."""
    known: Known = {}
    for example, prompt in zip(prepared.examples, prepared.prompts, strict=True):
        if (name := key(prompt.visual.embeds)) not in known:
            owner = render(SPLITS[prepared.task.split] + int(example.picture_id)).owner
            known[name] = {"object": (torch.from_numpy(owner).flatten() >= 0).float()}
    return known


def _known(vlm: VLM, prepared: PreparedTask, root: Path) -> Known:
    """All signals of every picture of the task, and its true objects."""
    known = known_objects(prepared)
    pictures = {
        key(prompt.visual.embeds): int(example.picture_id)
        for example, prompt in zip(prepared.examples, prepared.prompts, strict=True)
    }
    evidence = collected(vlm, root, prepared.task.split, 1 + max(pictures.values()))
    for name, picture in pictures.items():
        rows = evidence.image == picture
        known[name] |= {signal: values[rows] for signal, values in evidence.signals.items()}
    return known


def _methods(evidence: Evidence, books: dict[str, Codebook], known: Known) -> dict[str, Method]:
    """Everything that is scored on the test split."""
    methods: dict[str, Method] = {
        "random": lambda keep: Random(keep=keep),
        "uniform": lambda keep: Uniform(keep=keep),
        "divprune": lambda keep: DivPrune(keep=keep),
        "[CLS] attention": lambda keep: ClsTopK(keep=keep),
        "true objects": lambda keep: TrueObjects(keep=keep, known=known),
    }
    for name, condition in CRITERIA.items():
        methods[f"direct: {name}"] = direct_method(condition, known, 1.0)
        methods[f"direct + diversity: {name}"] = direct_method(condition, known, WEIGHT)
    for name, book in books.items():
        methods[f"codebook: {name}"] = book_method(book)
        methods[f"codebook + diversity: {name}"] = _mixed_method(book)
        methods[f"control: {name}"] = book_method(random_codebook(evidence, len(book.prototypes)))
    return methods


def _vary(prepared: PreparedTask, evidence: Evidence, condition: Condition) -> dict[str, float]:
    """Validation accuracy of the best criterion's book under other clustering settings and sizes."""
    accuracies: dict[str, float] = {}
    for largest in (8, 12, 144):
        for images in (4, 8, 16, 32):
            clustering = Clustering(largest=largest, images=images)
            try:
                book = build_codebook(evidence, condition, clustering)
            except UsageError:
                continue
            accuracies[f"largest {largest}, images {images}: {len(book.prototypes)} prototypes"] = _mean(
                prepared, book_method(book)
            )
    whole = build_codebook(evidence, condition, CLUSTERING)
    for count in (16, 64, 256, 1024):
        if count < len(whole.prototypes):
            rows = torch.randperm(len(whole.prototypes), generator=torch.Generator().manual_seed(0))[:count]
            part = Codebook(whole.prototypes[rows], whole.config)
            accuracies[f"{count} of {len(whole.prototypes)} prototypes"] = _mean(prepared, book_method(part))
    return accuracies


def _mean(prepared: PreparedTask, method: Method) -> float:
    scores: Scores = np.mean([prepared.run(method(keep))[0] for keep in KEEPS], 0)
    return float(scores.mean())


def book_method(book: Codebook) -> Method:
    return lambda keep: CodebookPruner(keep=keep, codebook=book)


def _mixed_method(book: Codebook) -> Method:
    return lambda keep: CodebookMMR(keep=keep, codebook=book, weight=WEIGHT)


def direct_method(condition: Condition, known: Known, weight: float) -> Method:
    return lambda keep: Direct(keep=keep, condition=condition, known=known, weight=weight)


if __name__ == "__main__":
    typer.run(judge)
