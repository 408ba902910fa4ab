"""lmms: any task of lmms-eval that generates text, as in `--task lmms:pope`: its documents, pictures,
prompts, filters, scores and aggregation, all by its own code.
"""

from __future__ import annotations

import difflib
import inspect
import io
import os
import re
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from math import isclose
from random import Random
from statistics import fmean
from types import SimpleNamespace
from typing import Any, ClassVar

from PIL import Image

from wordsight._utils.options import Count
from wordsight.errors import UsageError, shown
from wordsight.media.video import Video
from wordsight.tasks.base import Aggregate, Example, Task
from wordsight.tasks.digest import media_digest
from wordsight.tasks.scoring import score

NEW_TOKENS = 1024  # of an answer, where a task has no number of its own; as in lmms-eval's models
PLACE = "<image>"
EDGES = re.compile(r"^(?:\s*<image>)+\s*|\s*(?:<image>\s*)+$")
TRIED, TRIES = 24, 4  # documents that show whether an aggregation is a mean, and how often


@dataclass(frozen=True)
class Document(Example):
    """The question of a document, which is the task's `index`-th."""

    index: int = 0


@dataclass(kw_only=True)
class Lmms(Task):
    """name: what lmms-eval calls the task. metric: one of its metrics, by default the first. include_path: a
    folder with task files of one's own. frames: how many of a video are taken, 8 by default.

    Of the generation arguments the number of new tokens is taken; answers are those of the model's own
    options, greedy by default. Pictures come before the prompt. `limit` counts documents from the first, as
    lmms-eval does. Where neither what the task makes of an answer nor its aggregation of that alone is a
    score between 0 and 1, the score of a single question is that of `exact`.
    """

    FIRST: ClassVar[str] = "name"
    name: str
    metric: str | None = None
    include_path: str | None = None
    frames: Count | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split != "test":
            raise UsageError(
                "a task of lmms-eval is one split here, and choosing needs two: give a file of questions"
            )
        task = _loaded(self.name, self.include_path)
        if task.OUTPUT_TYPE != "generate_until":
            raise UsageError(
                f"lmms-eval's {self.name} is of type {task.OUTPUT_TYPE}: expected generate_until, where text "
                "is generated"
            )
        if self.metric not in (None, *task.aggregation()):
            raise UsageError(
                f"lmms-eval's {self.name} has no metric {shown(self.metric)}: choose from "
                f"{', '.join(task.aggregation())}"
            )

    @property
    def max_new_tokens(self) -> int:  # type: ignore[override]  # other tasks have the same number for all
        return int(self._task.config.generation_kwargs.get("max_new_tokens", NEW_TOKENS))

    def examples(self) -> Iterator[Example]:
        yield from _together(self._documents(self._places))

    def first(self, limit: int | None, pictures: int | None = None) -> list[Example]:
        """The first `limit` documents, of them those about the first `pictures` pictures.

        Raises UsageError if the task cannot score them, as one that counts pairs cannot score half of one.
        """
        found = _together(self._documents(self._places[:limit]))
        names = set(list(dict.fromkeys(example.picture_id for example in found))[:pictures])
        examples = [example for example in found if example.picture_id in names]
        if examples:
            self._aggregated([self._result(example, example.answer) for example in examples])
        return examples

    def score(self, example: Example, generated: str) -> float:
        own = self._own_score(self._result(example, generated))
        return score("exact", generated, example.answers, {}) if own is None else own

    def aggregate(self, examples: Sequence[Example], generated: Sequence[str]) -> Aggregate | None:
        if _is_mean(self.name, self._metric, self.include_path):
            return None
        results = [self._result(*pair) for pair in zip(examples, generated, strict=True)]
        return lambda places: self._aggregated([results[place] for place in places])

    @property
    def _task(self) -> Any:
        return _loaded(self.name, self.include_path)

    @property
    def _metric(self) -> str:
        return self.metric or next(iter(self._task.aggregation()))

    @property
    def _places(self) -> range:
        """The numbers of all documents."""
        return range(len(self._task.eval_docs_no_media))

    def _documents(self, places: Iterable[int]) -> Iterator[Document]:
        """Those at these places that the metric is of."""
        task, documents = self._task, self._task.eval_docs_no_media
        for index in places:
            document = documents[index]
            target = task.doc_to_target(document)
            answers = tuple(map(str, target)) if isinstance(target, list) else (str(target),)
            if self._metric not in _results(task, document, answers[0]):
                continue
            media = _Media(self.name, self.include_path, index, self.frames)
            digest = media.digest
            yield Document(
                images=media,
                picture_id=digest[:16],
                question=_worded(task.fewshot_context(document, task.config.num_fewshot or 0)),
                answer=answers[0],
                others=answers[1:],
                type=str(document.get("category", "question")),
                source=f"document {index} of lmms-eval's {self.name}",
                index=index,
            )

    def _result(self, example: Example, generated: str) -> Any:
        """What the task makes of an answer, which its aggregation takes."""
        assert isinstance(example, Document), "examples are this task's own"
        return _results(self._task, self._task.eval_docs_no_media[example.index], generated)[self._metric]

    def _own_score(self, result: Any) -> float | None:
        """Of one question: a number, the field that lmms-eval has its errors from, or the aggregation of that
        alone; None if there is none between 0 and 1.
        """
        value = result.get(self._task.config.score_key) if isinstance(result, dict) else result
        if value is None and not _writes_files(self._task.aggregation()[self._metric]):
            with suppress(Exception):  # there is none of a single answer
                value = self._aggregated([result])
        return float(value) if isinstance(value, (int, float)) and 0 <= value <= 1 else None

    def _is_mean_of(self, results: list[Any]) -> bool:
        """Whether these score together the mean of what they score alone; not so if one has no score."""
        scores = [score for each in results if (score := self._own_score(each)) is not None]
        if not scores or len(scores) < len(results):
            return False
        with suppress(UsageError):  # there is none of a few answers
            return isclose(self._aggregated(results), fmean(scores))
        return False

    def _aggregated(self, results: list[Any]) -> float:
        aggregation = self._task.aggregation()[self._metric]
        try:
            with _quiet(), _silent_programs(), tempfile.TemporaryDirectory() as folder:
                extra = {"args": SimpleNamespace(output_path=folder)} if _writes_files(aggregation) else {}
                return float(aggregation(results, **extra))
        except Exception as error:
            raise UsageError(
                f"lmms-eval's {self.name} makes no {self._metric} of these {len(results)} answers "
                f"({_told(error)}): it may need a program such as java, or all questions about a picture, "
                "which --pictures gives and --limit may not"
            ) from error


@lru_cache
def _is_mean(name: str, metric: str, include_path: str | None) -> bool:
    """Whether the aggregation is the mean of the scores of single questions, by a few documents of which some
    are answered right. They are drawn from all: the first are often of one category, where a mean over
    categories looks like one.
    """
    task, drawn = Lmms(name=name, metric=metric, include_path=include_path), Random(0)
    places = drawn.sample(task._places, min(TRIED, len(task._places)))
    documents = list(task._documents(sorted(places)))
    return all(
        task._is_mean_of([task._result(each, drawn.choice([each.answer, ""])) for each in documents])
        for _ in range(TRIES)
    )


@dataclass(frozen=True)
class _Media(Sequence[Any]):
    """The pictures or videos of a document, opened when they are looked at."""

    name: str
    include_path: str | None
    number: int
    frames: int | None

    @property
    def digest(self) -> str:
        """By what is in them."""
        return sha256(f"{media_digest(self._given())} {self.frames}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._given())

    def __getitem__(self, place: Any) -> Any:
        return list(self)[place]

    def __iter__(self) -> Iterator[Any]:
        for each in self._given():
            yield Video.open(each, frames=self.frames) if isinstance(each, str) else each

    def _given(self) -> list[Any]:
        """Pictures, or paths of videos."""
        task = _loaded(self.name, self.include_path)
        with _quiet():
            given = task.doc_to_visual(task.eval_docs[self.number])
        if not given or not all(isinstance(each, (Image.Image, str)) for each in given):
            raise UsageError(
                f"document {self.number} of lmms-eval's {self.name} is about something else than pictures or "
                "videos: expected a task whose documents all have them"
            )
        return list(given)


def _worded(text: str) -> str:
    """The prompt without the places of pictures before and behind it, as they come first; if there are
    others, all of them say which picture is meant.
    """
    bare = EDGES.sub("", text)
    if PLACE not in bare:
        return bare
    first, *rest = text.split(PLACE)
    return first + "".join(f"(image {i}){part}" for i, part in enumerate(rest, 1))


def _together(documents: Iterator[Document]) -> list[Example]:
    """Those about one picture together."""
    found: dict[str, list[Example]] = {}
    for each in documents:
        found.setdefault(each.picture_id, []).append(each)
    return [example for group in found.values() for example in group]


def _results(task: Any, document: Any, generated: str) -> dict[str, Any]:
    """What the task's first filter and its scoring make of an answer, metric by metric."""
    answer = SimpleNamespace(resps=[generated], filtered_resps={})
    with _quiet():
        task._filters[0].apply([answer], [document])
        found: dict[str, Any] = task.process_results(document, [answer.filtered_resps[task._filters[0].name]])
    return found


def _writes_files(aggregation: Any) -> bool:
    """Whether it takes the arguments of the command line, for the folder that it writes to."""
    return "args" in inspect.signature(aggregation).parameters


@lru_cache
def _loaded(name: str, include_path: str | None) -> Any:
    """lmms-eval's own object of a task. Raises UsageError if there is none, or it or its data cannot be
    loaded.
    """
    manager = _manager(include_path)
    known = manager.task_index.get(name)
    if known is None:
        near = difflib.get_close_matches(name, manager.all_tasks, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "`lmms-eval tasks list` lists them"
        raise UsageError(f"lmms-eval has no task {shown(name)}: {hint}")
    if known["type"] in ("group", "tag"):
        raise UsageError(
            f"lmms-eval's {name} is several tasks: name those of them that you want, each in a --task of its "
            f"own, as {', '.join(f'lmms:{each}' for each in _members(known))}"
        )
    try:
        with _quiet():
            return manager.load_task_or_group(name)[name]
    except Exception as error:
        raise UsageError(
            f"lmms-eval's {name} cannot be loaded ({_told(error)}): its data have to be on the hub, in the "
            "cache of `datasets` or in a folder of their name, and what its code imports installed"
        ) from error


def _members(known: dict[str, Any]) -> list[str]:
    listed = known["task"]
    if listed == -1:  # as the file of the group has it
        utils = import_module("lmms_eval.utils")
        listed = utils.load_yaml_config(known["yaml_path"], mode="simple")["task"]
    return [each if isinstance(each, str) else str(each.get("task")) for each in listed]


@lru_cache
def _manager(include_path: str | None) -> Any:
    """What knows every task by its name."""
    if find_spec("lmms_eval") is None:
        raise UsageError("a task of lmms-eval needs it: pip install 'wordsight[lmms-eval]'")
    if include_path is not None and not os.path.isdir(include_path):
        raise UsageError(f"include_path {shown(include_path)} is no folder; expected one with task files")
    with _quiet():
        return import_module("lmms_eval.tasks").TaskManager(include_path=include_path)


def _told(error: BaseException) -> str:
    """What went wrong in the code of others, at the end of all attempts, in one line."""
    attempt = getattr(error, "last_attempt", None)
    error = (attempt.exception() if attempt else None) or error
    return f"{type(error).__name__}: {shown(' '.join(str(error).split()))}"


@contextmanager
def _quiet() -> Iterator[None]:
    """What others print is not the result of a command, and what they warn of not the user's to change."""
    logger = import_module("loguru").logger
    logger.disable("")
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.enable("")


@contextmanager
def _silent_programs() -> Iterator[None]:
    """Java's tokenizer tells its speed on this process's own stderr, every time."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
