"""The verdict on language-defined redundancy, for one model: docs/findings.md says what is measured and why.

Run it for every model, then pool.py. Evidence is kept, so that a stopped run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
import typer
from safetensors.numpy import save_file
from torch import Tensor

from wordsight import VLM, Clustering, Codebook, CodebookPruner, Evidence, Pruner, UsageError
from wordsight.atomic import replacing
from wordsight.calibrate import KEEPS, SHARES, candidates, mean_over
from wordsight.condition import CRITERIA, Condition
from wordsight.demo.scenes import SPLITS, render, save_scenes
from wordsight.evaluate import environment
from wordsight.evidence import collect
from wordsight.pruners.base import ScorePruner, cosine_distance, farthest_first
from wordsight.pruners.cls_topk import ClsTopK
from wordsight.pruners.codebook_mmr import CodebookMMR
from wordsight.pruners.divprune import DivPrune
from wordsight.pruners.random import Random
from wordsight.pruners.uniform import Uniform
from wordsight.sheet import Scores, Sheet
from wordsight.tasks.scenes import Scenes
from wordsight.tokens import VisualTokens

HERE = Path(__file__).parent
CLUSTERING = Clustering(largest=12, images=8)
WEIGHT = 0.5  # of the criterion beside diversity
VALIDATION, TEST = 400, 800  # questions
SEEDS = (0, 1, 2)
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

    def prune(self, tokens: VisualTokens) -> VisualTokens:
        if self.weight == 1:
            return super().prune(tokens)
        bonus = self.weight / (1 - self.weight) * self.score(tokens)
        return tokens.take(farthest_first(cosine_distance(tokens.embeds), self.budget(tokens), bonus))


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
    name: Annotated[str, typer.Option(help="of the results: verdict_NAME.json")] = "0",
    pictures: Annotated[int, typer.Option(help="training scenes for the codebooks")] = 320,
    other: Annotated[Path | None, typer.Option(help="evidence of another seed's model")] = None,
) -> None:
    """Choose on the validation split, then score every method once on the test split."""
    vlm = VLM.from_pretrained(model)
    evidence = collected(vlm, evidence_root, "train", pictures)
    validation = Sheet.of(vlm, task := Scenes(split="validation", pictures=400), task.first(VALIDATION))
    chosen, tried = _choose(validation, evidence)
    best = max(chosen, key=lambda criterion: tried[chosen[criterion]])
    label = chosen[best]
    settings = _vary(validation, evidence, CRITERIA[best].at(_share(label)))
    test = Sheet.of(vlm, task := Scenes(pictures=400), task.first(TEST), collect=frozenset({"cls_attention"}))
    known = _known(vlm, test, evidence_root)
    methods = _methods(evidence, chosen, known, label)
    if other:
        methods["book of another seed's model"] = _book_method(
            Codebook.build(Evidence.load(other), CRITERIA[best].at(_share(label)), CLUSTERING)
        )
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
    save_file(
        {method: values.astype(np.float32) for method, values in scores.items()},
        results / f"verdict_{name}.safetensors",
    )
    with replacing(results / f"verdict_{name}.json") as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")


def collected(vlm: VLM, root: Path, split: str, pictures: int) -> Evidence:
    """The evidence of the first scenes of a split, kept under `root`."""
    with TemporaryDirectory() as folder:
        return collect(vlm, save_scenes(folder, pictures, split), root / f"{vlm.fingerprint}-{split}")


def known_objects(sheet: Sheet) -> Known:
    """Which tokens of every picture of the sheet belong to a true object."""
    known: Known = {}
    for example, prompt in zip(sheet.examples, sheet.prompts, strict=True):
        if (name := key(prompt.visual.embeds)) not in known:
            owner = render(SPLITS[sheet.task.split] + int(example.picture_id)).owner
            known[name] = {"object": (torch.from_numpy(owner).flatten() >= 0).float()}
    return known


def _known(vlm: VLM, sheet: Sheet, root: Path) -> Known:
    """All signals of every picture of the sheet, and its true objects."""
    known = known_objects(sheet)
    numbers = {int(example.picture_id) for example in sheet.examples}
    evidence = collected(vlm, root, sheet.task.split, max(numbers) + 1)
    for number in numbers:
        rows = evidence.image == number
        known[key(evidence.embeds[rows])] |= {name: values[rows] for name, values in evidence.signals.items()}
    return known


def _choose(sheet: Sheet, evidence: Evidence) -> tuple[dict[str, str], dict[str, float]]:
    """Per criterion the book with the best validation accuracy, and the accuracy of every book."""
    books = candidates(evidence, CLUSTERING, SHARES)
    tried = {label: _mean(sheet, _book_method(book)) for label, book in books.items()}
    chosen: dict[str, str] = {}
    for name in CRITERIA:
        if labels := [label for label in books if label.split(" q")[0] == name]:
            chosen[name] = max(labels, key=tried.__getitem__)
    return chosen, tried


def _methods(evidence: Evidence, chosen: dict[str, str], known: Known, best: str) -> dict[str, Method]:
    """Everything that is scored on the test split."""
    methods: dict[str, Method] = {
        "random": lambda keep: Random(keep=keep),
        "uniform": lambda keep: Uniform(keep=keep),
        "divprune (diversity, no quality)": lambda keep: DivPrune(keep=keep),
        "[CLS] attention": lambda keep: ClsTopK(keep=keep),
        "true objects": lambda keep: TrueObjects(keep=keep, known=known),
    }
    for name, condition in CRITERIA.items():
        methods[f"direct: {name}"] = _direct_method(condition, known, 1.0)
        methods[f"direct + diversity: {name}"] = _direct_method(condition, known, WEIGHT)
    for name, label in chosen.items():
        book = Codebook.build(evidence, CRITERIA[name].at(_share(label)), CLUSTERING)
        methods[f"codebook: {name}"] = _book_method(book)
        methods[f"codebook + diversity: {name}"] = _mixed_method(book)
        if label == best:
            for seed in SEEDS:
                control = Codebook.random(evidence, len(book.prototypes), seed)
                methods[f"control codebook {seed}"] = _book_method(control)
    return methods


def _vary(sheet: Sheet, evidence: Evidence, condition: Condition) -> dict[str, float]:
    """Validation accuracy of the best criterion's book under other clustering settings and sizes."""
    found: dict[str, float] = {}
    for largest in (8, 12, 144):
        for images in (4, 8, 16, 32):
            clustering = Clustering(largest=largest, images=images)
            try:
                book = Codebook.build(evidence, condition, clustering)
            except UsageError:
                continue
            found[f"largest {largest}, images {images}: {len(book.prototypes)} prototypes"] = _mean(
                sheet, _book_method(book)
            )
    whole = Codebook.build(evidence, condition, CLUSTERING)
    for count in (16, 64, 256, 1024):
        if count < len(whole.prototypes):
            rows = torch.randperm(len(whole.prototypes), generator=torch.Generator().manual_seed(0))[:count]
            part = Codebook(whole.prototypes[rows], whole.config)
            found[f"{count} of {len(whole.prototypes)} prototypes"] = _mean(sheet, _book_method(part))
    return found


def _share(label: str) -> float:
    return float(label.rpartition(" q")[2]) if " q" in label else 0.5


def _mean(sheet: Sheet, method: Method) -> float:
    scores: Scores = mean_over(sheet, [method(keep) for keep in KEEPS])
    return float(scores.mean())


def _book_method(book: Codebook) -> Method:
    return lambda keep: CodebookPruner(keep=keep, codebook=book)


def _mixed_method(book: Codebook) -> Method:
    return lambda keep: CodebookMMR(keep=keep, codebook=book, weight=WEIGHT)


def _direct_method(condition: Condition, known: Known, weight: float) -> Method:
    return lambda keep: Direct(keep=keep, condition=condition, known=known, weight=weight)


if __name__ == "__main__":
    typer.run(judge)
