"""Bench: one model, its pictures and questions, and everything that is measured of it, once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from methods import Method
from oracle import free_tokens
from subjects import Subject, scenes
from wordsight import VLM, Evidence, Pruner
from wordsight._utils.files import replacing
from wordsight._utils.progress import track
from wordsight.evaluation.calibration import KEEPS
from wordsight.evaluation.prepared_task import PreparedTask
from wordsight.evaluation.statistics import Scores
from wordsight.models.prompt import Prompt
from wordsight.redundancy.experiments import SIGNALS, WORDS
from wordsight.redundancy.measured_with import measured_with
from wordsight.redundancy.probe import QUESTION, probe_tokens
from wordsight.tasks.base import Example, Split, Task

KEPT = Path(__file__).parents[1] / "build" / "verdict"
ALONE = ("confidence", "certainty", "blind_divergence")  # criteria that one question about one token decides


@dataclass(frozen=True)
class Sizes:
    """How many pictures and questions, and how many tokens of them; by default those of photos."""

    asked: int = 300  # pictures of the split
    questions: int = 1  # about each of them
    choosing: int = 120  # of those on validation
    probed: int = 64  # of those asked, whose every token is probed
    few: int = 150  # of those asked, for criteria, pruners and kinds
    pictures: int = 100  # training pictures of a book
    examined: int = 24  # tokens of each
    book: int = 512  # tokens of a book
    whole: int = 24  # training pictures with all questions and both context experiments
    small: int = 256  # tokens of a book of those
    fewest: int = 12  # training pictures of the smallest books
    many: int = 1000  # training pictures of the largest books
    sparse: int = 17  # tokens of each
    tried: int = 40  # training pictures whose tokens are left out in turn

    def at(self, share: float) -> Sizes:
        """The same with a share of the pictures, to try it out."""
        counts = {each.name: getattr(self, each.name) for each in fields(self)}
        tokens = ("questions", "examined", "sparse")
        return Sizes(**{name: n if name in tokens else math.ceil(share * n) for name, n in counts.items()})


class FirstWords(PreparedTask):
    """Only the first token is read of every answer: what all prompts begin with is computed once."""

    def _answers(self, prompts: list[Prompt]) -> list[str]:
        best = self.vlm.logits(prompts).argmax(-1)
        decoded: list[str] = self.vlm.processor.tokenizer.batch_decode(best[:, None].tolist())
        return [text.strip() for text in decoded]


@dataclass(frozen=True)
class Bench:
    """One model, what it is asked about, and where what is measured is kept."""

    name: str
    vlm: VLM
    subject: Subject
    split: Split
    sizes: Sizes
    kind: str = "all"

    def of_kind(self, kind: str) -> Bench:
        """The same on scenes of a kind."""
        return replace(self, kind=kind, subject=scenes(kind, KEPT / "scenes"))

    @property
    def folder(self) -> Path:
        """Of this model alone: another training has another fingerprint."""
        return KEPT / f"{self.name}-{self.vlm.fingerprint}" / self.kind.replace(" ", "-")

    def questions(self, pictures: int) -> list[list[str]]:
        """The picture and the type of every question about so many pictures."""
        examples = self.examples(self.subject.task(self.vlm, self.split, pictures), pictures)
        names = {example.picture_id: "/".join(Path(example.picture_id).parts[-2:]) for example in examples}
        return [[names[example.picture_id], example.type] for example in examples]

    def examples(self, task: Task, pictures: int) -> list[Example]:
        """The questions of a task about so many pictures, which take turns."""
        return task.first(self.sizes.questions * pictures, pictures)

    def task(self, pictures: int, signals: frozenset[str] = frozenset()) -> PreparedTask:
        """The questions about so many pictures of the split, laid out for the model."""
        asked = self.subject.task(self.vlm, self.split, pictures)
        prepared = FirstWords if self.subject.first_word else PreparedTask
        return prepared.of(self.vlm, asked, self.examples(asked, pictures), signals=signals)

    def score(self, task: PreparedTask, label: str, scores: Callable[[], Scores]) -> Scores:
        """The score of every question, computed once."""
        plain = "".join(char if char.isalnum() or char == "." else "-" for char in label)
        path = self.folder / f"{self.split}-{len(task.examples)}" / f"{plain}.npy"
        if not path.exists():
            found = scores()
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as draft, draft.open("wb") as file:
                np.save(file, found)
        kept: Scores = np.load(path)
        return kept

    def run(
        self, task: PreparedTask, methods: dict[str, Method], keeps: Sequence[float] = KEEPS
    ) -> dict[str, Scores]:
        """Every method at every keep, by "method | keep"."""

        def scores(pruner: Pruner) -> Scores:
            return task.run(pruner)[0]

        pairs = [(f"{name} | {keep}", make(keep)) for name, make in methods.items() for keep in keeps]
        return {
            label: self.score(task, label, partial(scores, pruner))
            for label, pruner in track(pairs, "methods", len(pairs))
        }

    def evidence(self, split: str, pictures: int, tokens: int | None = None) -> Evidence:
        """What some tokens of pictures, or all, say alone to the paper's question; other signals are NaN."""

        def examine(path: Path, number: int) -> dict[str, Tensor]:
            prompt = self.vlm.encode(path, QUESTION)
            drawn = torch.randperm(len(prompt.visual), generator=torch.Generator().manual_seed(number))
            part = prompt.visual.take(drawn[:tokens])
            probe = probe_tokens(self.vlm, replace(prompt, visual=part))
            return {
                "embeds": part.embeds.float(),
                "cell": part.cell,
                "words": probe.tokens[:, :WORDS],
                "word_probabilities": probe.probabilities[:, :WORDS],
                **{name: getattr(probe, name) for name in ALONE},
            }

        paths = self.subject.pictures(split, pictures)
        parts = self._kept(paths, f"evidence-{split}-{tokens or 'all'}", "examining pictures", examine)
        return self._gathered(paths, parts)

    def left_out(self, pictures: int) -> tuple[Evidence, Tensor]:
        """The tokens of validation pictures, whose signals are NaN, and which of them (T,) can be left out of
        their picture together without changing any answer about it.
        """
        task = self.subject.task(self.vlm, "validation", pictures)
        about: dict[str, list[Example]] = {}
        for example in task.first(None, pictures):
            about.setdefault(example.picture_id, []).append(example)

        def leave_out(_: Path, number: int) -> dict[str, Tensor]:
            prompts = PreparedTask.of(self.vlm, task, list(about.values())[number]).prompts
            visual = prompts[0].visual
            order = torch.randperm(len(visual), generator=torch.Generator().manual_seed(number))
            free = free_tokens(self.vlm, prompts, order, task.max_new_tokens)
            return {"embeds": visual.embeds.float(), "cell": visual.cell, "free": free}

        paths = self.subject.pictures("validation", pictures)
        parts = self._kept(paths, "left-out", "leaving tokens out", leave_out)
        return self._gathered(paths, parts), torch.cat([part["free"] for part in parts])

    def _kept(
        self, paths: list[Path], name: str, doing: str, measure: Callable[[Path, int], dict[str, Tensor]]
    ) -> list[dict[str, Tensor]]:
        """What is measured of the tokens of every picture, once."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        parts = []
        for number, path in enumerate(track(paths, doing, len(paths))):
            file = folder / f"{number:04}.safetensors"
            if not file.exists():
                columns = {name: column.contiguous() for name, column in measure(path, number).items()}
                with replacing(file) as draft:
                    draft.write_bytes(save(columns))
            parts.append(load_file(file))
        return parts

    def _gathered(self, paths: list[Path], parts: list[dict[str, Tensor]]) -> Evidence:
        """Evidence of the columns that there are; what was not measured is NaN."""
        columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        image = torch.repeat_interleave(torch.tensor([len(part["embeds"]) for part in parts]))
        absent = torch.full((len(image),), torch.nan)
        manifest: Any = {
            "format": 4,
            "model": self.vlm.name,
            "fingerprint": self.vlm.fingerprint,
            "parts": self.vlm.parts,
            "questions": [QUESTION],
            "measured_with": measured_with(self.vlm),
        }
        return Evidence(
            embeds=columns["embeds"],
            cell=columns["cell"],
            words=columns.get("words", absent),
            word_probabilities=columns.get("word_probabilities", absent),
            image=image,
            signals={name: columns.get(name, absent) for name in SIGNALS},
            pictures=tuple(map(str, paths)),
            manifest=manifest,
            sha256=(None,) * len(paths),
        )
