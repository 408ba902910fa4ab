"""PreparedTask: a task laid out for one model, to run any number of pruners on and compare them in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from wordsight._utils.progress import track
from wordsight._utils.registry import spec
from wordsight.evaluation.statistics import DIFFERENCES, Scores, interval
from wordsight.models.layer_hooks import tokens_read
from wordsight.models.prompt import Prompt
from wordsight.models.tokens import VisualTokens
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner
from wordsight.pruners.random import Random
from wordsight.tasks.base import Example, Task

SEEDS = (0, 1, 2)  # of random tokens


@dataclass(frozen=True)
class PreparedTask:
    """The examples of a task and their unpruned prompts for one model."""

    vlm: VLM
    task: Task
    examples: list[Example]
    prompts: list[Prompt]

    @classmethod
    def of(
        cls, vlm: VLM, task: Task, examples: list[Example], *, signals: frozenset[str] = frozenset()
    ) -> PreparedTask:
        """These questions of a task; every picture is encoded once, with the signals named."""
        encoded: dict[str, VisualTokens] = {}
        prompts = []
        for example in track(examples, f"reading {spec(task)}", len(examples)):
            known = encoded.get(example.picture_id)
            prompt = vlm.encode(example.images, example.question, signals=signals, visual=known)
            encoded[example.picture_id] = prompt.visual
            prompts.append(prompt)
        return cls(vlm, task, examples, prompts)

    @cached_property
    def whole(self) -> Scores:
        """The score of every example with all visual tokens."""
        return self._score(self.prompts)

    @cached_property
    def blind(self) -> Scores:
        """The score of every example with no visual token."""
        none = torch.zeros(0, dtype=torch.long)
        return self._score([replace(prompt, visual=prompt.visual.take(none)) for prompt in self.prompts])

    def run(self, pruner: Pruner) -> tuple[Scores, float]:
        """The score of every example, mean over seeds, and the mean number of tokens that a layer reads.

        Every picture is pruned once, or once for every question by a method that looks at it.
        """
        totals, counts = np.zeros(len(self.examples)), []
        for method in seeded(pruner):
            kept: dict[str, VisualTokens] = {}
            prompts = []
            for example, prompt in zip(self.examples, self.prompts, strict=True):
                if example.picture_id not in kept or method.reads_question:
                    kept[example.picture_id] = method.prune(prompt.visual)
                prompts.append(method.apply(prompt, kept[example.picture_id]))
            totals += self._score(prompts)
            counts += [tokens_read(self.vlm.model, prompt) for prompt in prompts]
        return totals / len(seeded(pruner)), float(np.mean(counts))

    def interval(self, differences: Scores, level: float = 0.95) -> tuple[float, float]:
        """The bootstrap interval of the mean difference of two runs' scores.

        Pictures are resampled: questions about one picture are not independent.
        """
        pictures = [example.picture_id for example in self.examples]
        return interval(differences, pictures, level, ends=DIFFERENCES)

    def _score(self, prompts: list[Prompt]) -> Scores:
        answers = self.vlm.answers(prompts, self.task.max_new_tokens)
        pairs = zip(self.examples, answers, strict=True)
        return np.array([self.task.score(example, text) for example, text in pairs])


def seeded(pruner: Pruner) -> Sequence[Pruner]:
    """The pruner, or three of it if it draws."""
    return [replace(pruner, seed=seed) for seed in SEEDS] if isinstance(pruner, Random) else [pruner]
