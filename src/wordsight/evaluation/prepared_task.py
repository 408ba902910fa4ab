"""PreparedTask: a task laid out for one model, to run any number of pruners on and compare them in pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from wordsight._utils.progress import track
from wordsight._utils.registry import spec
from wordsight.errors import UsageError, located
from wordsight.evaluation.statistics import DIFFERENCES, Scores, interval, tell_if_few
from wordsight.media.inputs import MediaInput
from wordsight.media.resize import resized
from wordsight.models.conversation import Conversation
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
        for example, media in opened(task, track(examples, f"reading {spec(task)}", len(examples))):
            known = encoded.get(example.picture_id)
            prompt = vlm.encode(media, example.question, turns=example.turns, signals=signals, visual=known)
            encoded[example.picture_id] = prompt.visual
            prompts.append(prompt)
        return cls(vlm, task, examples, prompts)

    def on_resized(self, share: Callable[[VisualTokens], float]) -> PreparedTask:
        """The same questions about pictures with a share of their pixels, which depends on their tokens."""
        smaller: dict[str, list[Any]] = {}
        for (example, media), prompt in zip(opened(self.task, self.examples), self.prompts, strict=True):
            if example.picture_id not in smaller:
                smaller[example.picture_id] = resized(media, share(prompt.visual))
        examples = [replace(example, images=smaller[example.picture_id]) for example in self.examples]
        return PreparedTask.of(self.vlm, self.task, examples)

    @cached_property
    def pictures(self) -> list[str]:
        """What each question is about."""
        return [example.picture_id for example in self.examples]

    @cached_property
    def whole(self) -> Scores:
        """The score of every example with all visual tokens."""
        return scores_of(self.task, self.examples, self.whole_answers)

    @cached_property
    def blind(self) -> Scores:
        """The score of every example with no visual token."""
        return scores_of(self.task, self.examples, self.blind_answers)

    def run(self, pruner: Pruner) -> tuple[Scores, float]:
        """The score of every example, mean over seeds, and the mean number of tokens that a layer reads."""
        answers, kept = self.answers(pruner)
        return mean_scores([scores_of(self.task, self.examples, each) for each in answers]), kept

    @cached_property
    def whole_answers(self) -> list[str]:
        """What is said of every example with all visual tokens."""
        return self._answers(self.prompts)

    @cached_property
    def blind_answers(self) -> list[str]:
        """What is said of every example with no visual token."""
        none = torch.zeros(0, dtype=torch.long)
        return self._answers([replace(prompt, visual=prompt.visual.take(none)) for prompt in self.prompts])

    def answers(self, pruner: Pruner) -> tuple[list[list[str]], float]:
        """What is said of every example, for each seed, and the mean number of tokens that a layer reads.

        Every picture is pruned once, or once for every question by a method that looks at it.
        """
        answers, counts = [], []
        for method in seeded(pruner):
            kept: dict[str, VisualTokens] = {}
            prompts = []
            for example, prompt in zip(self.examples, self.prompts, strict=True):
                if example.picture_id not in kept or method.reads_question:
                    kept[example.picture_id] = method.prune(prompt.visual)
                prompts.append(method.apply(prompt, kept[example.picture_id]))
            answers.append(self._answers(prompts))
            counts += [tokens_read(self.vlm.model, prompt) for prompt in prompts]
        return answers, float(np.mean(counts))

    def _answers(self, prompts: list[Prompt]) -> list[str]:
        return self.vlm.answers(prompts, answer_length(self.vlm, self.task))


def paired_interval(differences: Scores, pictures: Sequence[str], level: float = 0.95) -> tuple[float, float]:
    """The interval of the mean difference of two runs' scores, over pictures, of which there are two."""
    low, high = interval(differences, pictures, level, ends=DIFFERENCES)
    assert low is not None, "there are two pictures or more"
    assert high is not None, "there are two pictures or more"
    return low, high


def answer_length(vlm: VLM, task: Task) -> int:
    """The most tokens of an answer: as the task says, unless the model's options say otherwise."""
    return vlm.options.generation.max_new_tokens or task.max_new_tokens


def scores_of(task: Task, examples: Sequence[Example], answers: Sequence[str]) -> Scores:
    """The score of every answer. Raises UsageError if the task gives one that is not between 0 and 1."""
    scores = [task.score(example, text) for example, text in zip(examples, answers, strict=True)]
    if wrong := [each for each in scores if not 0 <= each <= 1]:
        raise UsageError(f"{spec(task)} scores an answer {wrong[0]}; expected a number from 0 to 1")
    return np.array(scores, dtype=float)


def mean_scores(seeds: Sequence[Scores]) -> Scores:
    """The mean over seeds, of every example."""
    total: Scores = np.sum(seeds, 0)
    return total / len(seeds)


def check_examples(vlm: VLM, task: Task, examples: Sequence[Example], new_tokens: int = 0) -> None:
    """Raises UsageError, which says of which question, if one is no text to the tokenizer, or all of its
    visual tokens and an answer (of `new_tokens` at least) exceed the model's context. The model does not run.
    Too few pictures to believe what comes of them are a note.
    """
    preflight, wanted = Preflight(vlm), max(answer_length(vlm, task), new_tokens)
    asked = opened(task, track(examples, f"checking {spec(task)}", len(examples)))
    for number, (example, media) in enumerate(asked, 1):
        with located(_place(task, example, number)):
            preflight.check(Conversation.about(media, example.question, example.turns), wanted)
    tell_if_few(len({example.picture_id for example in examples}), spec(task))


def opened(task: Task, examples: Iterable[Example]) -> Iterator[tuple[Example, MediaInput]]:
    """Every question with what it is about, opened once for those about one picture that are together.

    Raises MediaError, which says of which question, if it cannot be opened.
    """
    picture_id, media = None, None
    for number, example in enumerate(examples, 1):
        if media is None or example.picture_id != picture_id:
            with located(_place(task, example, number)):
                picture_id, media = example.picture_id, MediaInput.of(example.images)
        yield example, media


def _place(task: Task, example: Example, number: int) -> str:
    return example.source or f"question {number} of {spec(task)}"


def seeded(pruner: Pruner) -> Sequence[Pruner]:
    """The pruner, or three of it if it draws."""
    return [replace(pruner, seed=seed) for seed in SEEDS] if isinstance(pruner, Random) else [pruner]
