"""PreparedTask: a task laid out for one model, to run any number of pruners on and compare them in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from wordsight._utils.progress import track
from wordsight._utils.registry import spec
from wordsight.errors import located
from wordsight.evaluation.statistics import DIFFERENCES, Scores, interval
from wordsight.media.inputs import MediaInput
from wordsight.models.layer_hooks import tokens_read
from wordsight.models.preflight import Preflight
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
    def pictures(self) -> list[str]:
        """What each question is about."""
        return [example.picture_id for example in self.examples]

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
        """The interval of the mean difference of two runs' scores, over pictures, of which there are two."""
        low, high = interval(differences, self.pictures, level, ends=DIFFERENCES)
        assert low is not None, "there are two pictures or more"
        assert high is not None, "there are two pictures or more"
        return low, high

    def _score(self, prompts: list[Prompt]) -> Scores:
        answers = self.vlm.answers(prompts, self.task.max_new_tokens)
        pairs = zip(self.examples, answers, strict=True)
        return np.array([self.task.score(example, text) for example, text in pairs])


def check_examples(vlm: VLM, task: Task, examples: Sequence[Example], new_tokens: int = 0) -> None:
    """Raises UsageError, which says of which question, if one is no text to the tokenizer, or all of its
    visual tokens and an answer (of `new_tokens` at least) exceed the model's context. The model does not run.
    """
    preflight, wanted = Preflight(vlm), max(task.max_new_tokens, new_tokens)
    picture_id, media = None, None
    for number, example in enumerate(track(examples, f"checking {spec(task)}", len(examples)), 1):
        with located(example.source or f"question {number} of {spec(task)}"):
            if media is None or example.picture_id != picture_id:
                picture_id, media = example.picture_id, MediaInput.of(example.images)
            preflight.check(media, example.question, wanted)


def seeded(pruner: Pruner) -> Sequence[Pruner]:
    """The pruner, or three of it if it draws."""
    return [replace(pruner, seed=seed) for seed in SEEDS] if isinstance(pruner, Random) else [pruner]
