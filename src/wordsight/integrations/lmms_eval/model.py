"""A model of lmms-eval: a class over one of its own, whose `generate` prunes.

lmms-eval takes an Exception for an empty answer, or logs it and exits with 0: what fails here ends the run.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from lmms_eval.api.instance import GenerationResult, TokenCounts, unwrap_generation_output
from lmms_eval.api.model import lmms
from lmms_eval.caching.response_cache import ResponseCache
from lmms_eval.models import MODEL_REGISTRY_V2
from lmms_eval.protocol import ChatMessages
from lmms_eval.utils import simple_parse_args_string
from PIL.Image import Image

from wordsight import pruners
from wordsight._utils.options import Share
from wordsight._utils.registry import spec
from wordsight.errors import UsageError, WordsightError
from wordsight.evaluation.comparison import NOTHING, Budget
from wordsight.evaluation.environment import describe_weights, machine
from wordsight.evaluation.metrics import BLIND, UNPRUNED
from wordsight.integrations.lmms_eval.record import FORMAT, NAME, LmmsRun, LmmsSample
from wordsight.models.attach import attach
from wordsight.models.failures import as_model_error
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import Pruner

PROCESSORS = ("processor", "_processor", "_image_processor")  # what lmms-eval's classes call it
HINT = "options of a SPEC go in quotes, as pruner='divprune:keep=0.2,positions=contiguous'"


class Pruned(lmms):
    """What is laid over a class of lmms-eval; by itself it only makes one of its arguments."""

    is_simple = False

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: Mapping[str, Any] | None = None
    ) -> Pruned:
        """The model of `--model_args`: base, pruner, keep or tokens, and the arguments of the base."""
        with ending_the_run():
            given = _parsed(arg_string)
            base, pruner = given.pop("base", None), _pruner(given)
            parent = _parent(base, cls.is_simple)
            _check_arguments(base, parent, given)
            given |= {name: value for name, value in (additional_config or {}).items() if value is not None}
            own = {"is_simple": parent.is_simple, "__module__": __name__}
            made = type(parent.__name__, (Pruned, parent), own)
            with as_model_error(f"cannot load {given.get('pretrained', 'the model')} as base={base}"):
                model: Pruned = made(**given)
            model.attach(pruner)
            return model

    def attach(self, pruner: Pruner) -> None:
        """From now on the model prunes; what it fails at is counted. Raises UsageError if it cannot."""
        processor = next((found for name in PROCESSORS if (found := getattr(self, name, None))), None)
        if processor is None or not hasattr(self.model, "generate"):
            raise UsageError(
                f"{type(self).__name__} of lmms-eval has not both a processor and a model of transformers "
                "that generates, which alone can be pruned; take another base, as llava_hf"
            )
        self._pruner, self._attached = pruner, attach(self.model, processor, pruner)
        self._failures: list[Exception] = []
        self._generated = 0
        self.model.generate = self._counted(self.model.generate)
        _refuse_cache()

    def _counted(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **inputs: Any) -> Any:
            try:
                output = generate(*args, **inputs)
            except Exception as error:
                self._failures.append(error)
                raise
            self._generated += len(inputs["input_ids"])
            return output

        return counted

    def generate_until(self, requests: Sequence[Any]) -> list[GenerationResult]:
        """What is said to each request."""
        return self._by_task(super().generate_until, requests)

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[GenerationResult]:
        """What is said to each request, round by round."""
        return self._by_task(super().generate_until_multi_round, requests)

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Ends the run: likelihoods are of whole prompts."""
        with ending_the_run():
            raise UsageError(
                f"{requests[0].task_name} scores answers by their likelihood, which is computed without "
                "generate and would be that of the unpruned model; choose a task that generates"
            )

    def clean(self) -> None:
        """Lets go of the model."""
        self._attached.detach()
        del self._attached
        super().clean()

    def _by_task(
        self, answer: Callable[[Sequence[Any]], list[Any]], requests: Sequence[Any]
    ) -> list[GenerationResult]:
        """The answers in the order of the requests; one task after the other, so that each has counts."""
        places: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            places.setdefault(request.task_name, []).append(place)
        results: dict[int, GenerationResult] = {}
        with ending_the_run():
            for task, own in places.items():
                results |= zip(own, self._answered(answer, task, [requests[i] for i in own]), strict=True)
        return [results[place] for place in range(len(requests))]

    def _answered(
        self, answer: Callable[[Sequence[Any]], list[Any]], task: str, requests: Sequence[Any]
    ) -> Iterator[GenerationResult]:
        """The answers to the questions of a task, with our record of each. Raises WordsightError if one of
        them has none.
        """
        vars(self._pruner).pop("_stats", None)
        self._failures.clear()
        self._generated = 0
        answers = answer(requests)
        self._check_all_answered(task, len(requests))
        run: LmmsRun | None = self._run()
        for request, each in zip(requests, answers, strict=True):
            text, counts = unwrap_generation_output(each)
            record: LmmsSample = {"picture": self._digest(request)}
            if run:
                record["run"], run = run, None
            yield GenerationResult(text, _Counts(**asdict(counts or TokenCounts()), record=record))

    def _check_all_answered(self, task: str, asked: int) -> None:
        if missing := max(len(self._failures), asked - self._generated):
            why = f"the first: {self._failures[0]}" if self._failures else "the log above says why"
            raise WordsightError(
                f"{missing} of {asked} questions of {task} failed, which lmms-eval would score as wrong "
                f"answers; {why}"
            ) from next(iter(self._failures), None)

    def _run(self) -> LmmsRun:
        pruner, stats = self._pruner, self._pruner.stats
        prompts = max(1, stats.prompts)
        budget = NOTHING if isinstance(pruner, _Blind) else Budget.of(pruner)
        names = (name for name, kind in BASELINES.items() if type(pruner) is kind)
        return {
            "format": FORMAT,
            "pruner": next(names, None) or spec(pruner),
            "keep": budget.keep,
            "tokens": budget.tokens,
            "has_fixed_budget": pruner.has_fixed_budget,
            "tokens_total": stats.before / prompts,
            "tokens_kept": stats.after / prompts,
            "machine": machine(),
            "weights": describe_weights(self._attached.vlm),
        }

    def _digest(self, request: Any) -> str:
        """Tells what a question is about from all else: of pixels, or of the paths of films."""
        *_, document, task, split = request.args
        asked = self.task_dict[task][split][document]
        if self.is_simple:
            shown = next(each for each in request.args if callable(each))(asked) or []
        else:
            images, videos, _ = ChatMessages(messages=request.args[1](asked)).extract_media()
            shown = [*images, *videos]
        digest = hashlib.sha256()
        for each in shown:
            digest.update(each.tobytes() if isinstance(each, Image) else repr(each).encode())
        return digest.hexdigest()[:16]


class Simple(Pruned):
    """The same where `--force_simple` asks for classes that read plain text."""

    is_simple = True


@dataclass
class _Counts(TokenCounts):
    """The counts of a sample, beside which our record is logged."""

    record: Any = None

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), NAME: self.record}


@contextmanager
def ending_the_run() -> Iterator[None]:
    """An error that is the user's to fix is one sentence on stderr, and the exit code 1."""
    try:
        yield
    except WordsightError as error:
        raise SystemExit(f"{NAME}: {error}") from error


@dataclass(kw_only=True)
class _Whole(Pruner):
    """All visual tokens: the unpruned model, in the same code."""

    keep: Share = 1.0

    def prune(self, tokens: VisualTokens) -> VisualTokens:
        return tokens


@dataclass(kw_only=True)
class _Blind(_Whole):
    """None of them."""

    def prune(self, tokens: VisualTokens) -> VisualTokens:
        return tokens.take(torch.zeros(0, dtype=torch.long))


BASELINES: dict[str, type[Pruner]] = {UNPRUNED: _Whole, BLIND: _Blind}


def _parsed(arguments: str) -> dict[str, Any]:
    """The arguments of the model by their names."""
    try:
        return dict(simple_parse_args_string(arguments))
    except ValueError as error:  # a part without =
        raise UsageError(f"--model_args {arguments}: expected NAME=VALUE,NAME=VALUE; {HINT}") from error


def _pruner(given: dict[str, Any]) -> Pruner:
    """The pruner that is asked for; what asks for it is taken out of the arguments."""
    text = str(given.pop("pruner", "")).strip("'\"")
    budget = {name: given.pop(name) for name in ("keep", "tokens") if name in given}
    if text in BASELINES:
        if budget:
            raise UsageError(f"{min(budget)} is of a pruner; leave it out beside pruner={text}")
        return BASELINES[text]()
    if not text or len(budget) > 1:
        raise UsageError(
            "--model_args takes pruner=SPEC, with keep or tokens, one of the two; or pruner=none, which "
            "keeps all visual tokens, or pruner=blind, which keeps none"
        )
    pruner = pruners.make(text)
    return pruner.with_budget(**budget) if budget else pruner


def _parent(base: Any, is_simple: bool) -> Any:
    """The class of lmms-eval of this name."""
    if base == NAME or base not in MODEL_REGISTRY_V2.list_model_names():
        raise UsageError(
            f"base={base}: expected a model of lmms-eval over transformers, such as llava_hf, which loads "
            "LLaVA-NeXT and LLaVA-OneVision too, qwen2_5_vl, qwen3_vl or internvl_hf"
        )
    try:
        return MODEL_REGISTRY_V2.get_model_class(base, force_simple=is_simple)
    except ImportError as error:
        raise UsageError(f"lmms-eval cannot import base={base}: {error}") from error


def _check_arguments(base: str, parent: type, given: Mapping[str, Any]) -> None:
    """Raises UsageError for an argument that the class does not name: most of them fail at it later."""
    known = {name for each in parent.__mro__ for name in inspect.signature(each).parameters}
    if strange := sorted(given.keys() - known):
        raise UsageError(f"{strange[0]} is no argument of base={base}; {HINT}")


def _refuse_cache() -> None:
    """lmms-eval keeps answers under the arguments of a model, which do not say what is in a codebook."""
    create = ResponseCache.create

    def checked(*args: Any, model: str = "", **rest: Any) -> Any:
        with ending_the_run():
            if model == NAME:
                raise UsageError(
                    "lmms-eval's response cache tells pruners apart by the text of their arguments, not by "
                    "their codebooks, and forgets how many tokens were read; leave out --use_cache"
                )
        return create(*args, model=model, **rest)

    ResponseCache.create = checked
