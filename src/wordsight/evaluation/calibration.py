"""Calibrate: does a codebook pay on this model, and which criterion makes the best one?

A codebook can win for the wrong reason: that its prototypes are common, not that they say nothing. So the
best book has to beat random tokens AND a book of random tokens, on questions that did not choose it.

Beside diversity it may pay where it does not alone. So how much it counts in `codebook_mmr` is chosen on the
same questions, for books of random tokens, too, and tested against DivPrune and against those books.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from typing_extensions import TypedDict

from wordsight._utils.progress import track
from wordsight._utils.registry import spec
from wordsight.errors import UsageError
from wordsight.evaluation.comparison import TaskRun
from wordsight.evaluation.environment import Environment, environment
from wordsight.evaluation.prepared_task import check_examples, paired_interval
from wordsight.evaluation.result_cache import ResultCache
from wordsight.evaluation.statistics import FEWEST_PICTURES, Interval, Scores
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner
from wordsight.pruners.codebook import CodebookPruner
from wordsight.pruners.codebook_mmr import CodebookMMR
from wordsight.pruners.divprune import DivPrune
from wordsight.pruners.random import Random
from wordsight.redundancy.build import Clustering, build_codebook, random_codebook
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.codebook_config import Calibrated, WeightAndQuality
from wordsight.redundancy.collecting import EvidencePlan
from wordsight.redundancy.criteria import CRITERIA, Condition, ConditionRecord
from wordsight.redundancy.evidence import Evidence
from wordsight.redundancy.experiments import OVER_QUESTIONS
from wordsight.redundancy.probe import QUESTIONS
from wordsight.redundancy.silence import SilenceRecord, share_silent
from wordsight.tasks.base import Example, Task

T = TypeVar("T")
FORMAT = 1
KEEPS = (0.2, 0.1, 0.05)
SHARES = (0.3, 0.5, 0.7)
WEIGHTS = (0.1, 0.2, 0.3, 0.5)  # of a book beside diversity
CONTROL_SEEDS = (0, 1, 2)
RANDOM_TOKENS, RANDOM_BOOKS, DIVERSITY = "random tokens", "codebooks of random tokens", "divprune"
LEVEL = 1 - 0.05 / 2  # of the intervals to the two controls of a verdict
Tried = tuple[Codebook, float]  # a book, and its accuracy on the questions that choose


class QuestionCounts(TypedDict):
    """How many questions chose the book, and how many tested it."""

    choosing: int
    testing: int


class TriedWeight(TypedDict):
    """A weight of `codebook_mmr`, and accuracies on the questions that choose."""

    weight: float
    accuracy: float
    random_books: Annotated[float, "the accuracy with books of random tokens, the mean of three"]


class ChosenWeights(TypedDict):
    """Weights in `codebook_mmr`, chosen on the questions that choose; 0 where DivPrune is best."""

    weight: Annotated[float, "of the best book"]
    random_books_weight: Annotated[float, "of books of random tokens, the mean of three"]
    divprune: Annotated[float, "the accuracy of DivPrune"]
    choosing: Annotated[list[TriedWeight], "accuracies with every weight"]


class Verdict(TypedDict):
    """What was found on the questions that test."""

    pays: Annotated[bool, "whether the book beats both controls, on enough pictures"]
    testing: Annotated[dict[str, float], "accuracy of the book and of its controls"]
    difference_to: Annotated[dict[str, Interval], "accuracy of the book minus that of a control, paired"]


class BesideDiversity(ChosenWeights, Verdict):
    """How much the best book counts beside diversity, and whether it pays there; with weight 0 nothing is
    tested.
    """


class CalibrationRecord(TypedDict):
    """How the best book was chosen and tested; accuracies are means over `keeps`."""

    format: int
    pays: Annotated[bool, "whether the book beats both controls, on enough pictures"]
    pictures: Annotated[int, "that the questions which tested it are about"]
    enough_pictures: Annotated[bool, f"false if they are fewer than {FEWEST_PICTURES}: not to be believed"]
    chosen: Annotated[str, "the criterion of the best book, with its quantile"]
    settings: Annotated[ConditionRecord, "the condition of that criterion, as in the book's config"]
    prototypes: int
    task: str
    keeps: list[float]
    silence: Annotated[SilenceRecord, "how many tokens of the evidence say nothing, which foretells it"]
    choosing: Annotated[
        dict[str, float], "accuracy of every book that was tried, on the questions that choose"
    ]
    testing: Annotated[dict[str, float], "accuracy of the best book and its references, on those that test"]
    difference_to: Annotated[dict[str, Interval], "accuracy of the best book minus that of a control, paired"]
    beside_diversity: Annotated[BesideDiversity, "the same book with a selector by diversity"]
    level: Annotated[float, "of the intervals: 0.95, Bonferroni-corrected for the two of a verdict"]
    questions: QuestionCounts
    environment: Environment


@dataclass(frozen=True)
class Calibration:
    """The best book and the record of how it was chosen and tested; `record["pays"]` is the verdict on it
    alone, `record["beside_diversity"]["pays"]` that on it beside diversity.
    """

    book: Codebook
    record: CalibrationRecord


def calibrate(
    vlm: VLM,
    evidence: Evidence,
    task: Task,
    *,
    questions: int = 600,
    clustering: Clustering | None = None,
) -> Calibration:
    """Build a book for every criterion and share, choose on one half of the questions, test on the other.

    A book pays if its accuracy, mean over KEEPS, is above that of random tokens (three seeds) and of books
    of as many random tokens (three seeds), both paired 95 % intervals Bonferroni-corrected for the two, on
    FEWEST_PICTURES pictures or more. Beside diversity it pays by the same rule, above DivPrune and books of
    random tokens, each with the weight in `codebook_mmr` that is best for it on the half that chooses. Each
    verdict is corrected for its own two intervals, not for the other.
    Raises UsageError if the evidence is of another model or no criterion leaves a prototype.
    """
    plan = CalibrationPlan(task=task, questions=questions, clustering=clustering or Clustering())
    return plan.results(vlm, evidence)


@dataclass(frozen=True, kw_only=True)
class CalibrationPlan:
    """What `calibrate` is asked, in plain values that can be pickled: any number of processes can each try
    some of the books, on a model that they have loaded.

    asked_alone  the questions that every token of the evidence is to be asked.
    cache        the folder to keep finished results in: a run that was killed goes on from them.
    """

    task: Task
    questions: int = 600
    clustering: Clustering = field(default_factory=Clustering)
    asked_alone: Sequence[str] = QUESTIONS
    cache: Path | None = None

    @property
    def evidence_plan(self) -> EvidencePlan:
        """What evidence has to hold for it; of an approximate global divergence, what the folder has."""
        return EvidencePlan(questions=self.asked_alone, clustering=self.clustering, approximate_global=None)

    @cached_property
    def halves(self) -> tuple[list[Example], list[Example]]:
        """The first questions of the task in two parts that share no picture: to choose by, and to test.
        Raises UsageError if they are about fewer than four.
        """
        examples = self.task.first(self.questions)
        pictures = list(dict.fromkeys(example.picture_id for example in examples))
        if len(pictures) < 4:
            raise UsageError(
                f"expected questions about at least four pictures, two to choose by and two to test, got "
                f"{len(pictures)}"
            )
        early = set(pictures[: len(pictures) // 2])
        first = [example for example in examples if example.picture_id in early]
        return first, [example for example in examples if example.picture_id not in early]

    def check(self, vlm: VLM) -> None:
        """Raises UsageError if one of the questions cannot be asked."""
        check_examples(vlm, self.task, [example for half in self.halves for example in half])

    def results(self, vlm: VLM, evidence: Evidence) -> Calibration:
        """See `calibrate`."""
        self.check(vlm)
        random_codebook(evidence, 1).check(vlm)
        trials = Trials(self, evidence, vlm)
        return self.decide(
            evidence, environment(vlm), lambda jobs: [*map(trials, track(jobs, "trying books", len(jobs)))]
        )

    def decide(self, evidence: Evidence, made_in: Environment, run: Run) -> Calibration:
        """Choose a book and test it; `run` has jobs done by `Trials` of this plan and evidence, side by side
        if it can, and returns what comes of them in their order.
        """
        tries = conditions(evidence.manifest["questions"])
        tried = run([partial(Trials.choose, condition=condition) for condition in tries.values()])
        books = _built(dict(zip(tries, tried, strict=True)))
        best = best_of({label: accuracy for label, (_, accuracy) in books.items()})
        book, _ = books[best]
        condition = book.config["condition"]
        assert not isinstance(condition, str), "a candidate is built by a condition"
        drawn = [random_codebook(evidence, len(book.prototypes), seed) for seed in CONTROL_SEEDS]
        weights = _choose_weights(run, book, drawn)  # before anything is tested
        first, second = self.halves
        pictures = [example.picture_id for example in second]
        ((whole, blind),) = run([Trials.unpruned_and_blind])
        random_tokens = [Random(keep=keep) for keep in KEEPS]
        alone = _verdict(
            run,
            pictures,
            {best: [_pruners(book)], RANDOM_TOKENS: [random_tokens], RANDOM_BOOKS: [*map(_pruners, drawn)]},
        )
        count = len(set(pictures))
        record: CalibrationRecord = {
            "format": FORMAT,
            "pays": alone["pays"],
            "pictures": count,
            "enough_pictures": count >= FEWEST_PICTURES,
            "chosen": best,
            "settings": condition,
            "prototypes": len(book.prototypes),
            "task": spec(self.task),
            "keeps": list(KEEPS),
            "silence": share_silent(evidence.signals["blind_divergence"], pictures=evidence.examined),
            "choosing": {label: accuracy for label, (_, accuracy) in books.items()},
            "testing": {
                "all visual tokens": float(whole.mean()),
                "none": float(blind.mean()),
                **alone["testing"],
            },
            "difference_to": alone["difference_to"],
            "beside_diversity": _beside_diversity(run, pictures, book, drawn, weights),
            "level": LEVEL,
            "questions": {"choosing": len(first), "testing": len(second)},
            "environment": made_in,
        }
        return Calibration(_with_quality(book, record), record)


def _verdict(run: Run, pictures: Sequence[str], methods: Mapping[str, Sequence[Sequence[Pruner]]]) -> Verdict:
    """Whether the first method is above each of the others, on the questions about these pictures. The score
    of a method is the mean of its lists of pruners, which are measured side by side.
    """
    scores = iter(run([partial(Trials.test, pruners=each) for lists in methods.values() for each in lists]))
    found = {name: np.mean([next(scores) for _ in lists], 0) for name, lists in methods.items()}
    (_, best), *controls = found.items()
    gaps = {name: best - other for name, other in controls}
    differences = {
        name: [float(gap.mean()), *paired_interval(gap, pictures, LEVEL)] for name, gap in gaps.items()
    }
    enough = len(set(pictures)) >= FEWEST_PICTURES
    return {
        "pays": enough and all(low > 0 for _, low, _ in differences.values()),
        "testing": {name: float(values.mean()) for name, values in found.items()},
        "difference_to": differences,
    }


def _choose_weights(run: Run, book: Codebook, drawn: Sequence[Codebook]) -> ChosenWeights:
    """The best weight for the book, and the best for books of random tokens."""
    lists = [_diversity()]
    for books in ([book], drawn):
        lists += [[pruner for each in books for pruner in _weighed(each, weight)] for weight in WEIGHTS]
    without, *accuracies = run([partial(Trials.accuracy, pruners=each) for each in lists])
    own, of_random = accuracies[: len(WEIGHTS)], accuracies[len(WEIGHTS) :]
    weight, random_weight = (
        best_of(dict(zip((0.0, *WEIGHTS), [without, *each], strict=True))) for each in (own, of_random)
    )
    return {
        "weight": weight,
        "random_books_weight": random_weight,
        "divprune": without,
        "choosing": [
            {"weight": each, "accuracy": accuracy, "random_books": other}
            for each, accuracy, other in zip(WEIGHTS, own, of_random, strict=True)
        ],
    }


def _beside_diversity(
    run: Run, pictures: Sequence[str], book: Codebook, drawn: Sequence[Codebook], chosen: ChosenWeights
) -> BesideDiversity:
    """Test the book with its weight."""
    weight, random_weight = chosen["weight"], chosen["random_books_weight"]
    if not weight:
        return {**chosen, "pays": False, "testing": {}, "difference_to": {}}
    controls = [_weighed(each, random_weight) for each in drawn] if random_weight else [_diversity()]
    ours = f"codebook_mmr:weight={weight}"
    methods = {ours: [_weighed(book, weight)], DIVERSITY: [_diversity()], RANDOM_BOOKS: controls}
    return {**chosen, **_verdict(run, pictures, methods)}


def _with_quality(book: Codebook, record: CalibrationRecord) -> Codebook:
    """The book, which says how well it did."""
    quality: Calibrated = {
        "task": record["task"],
        "questions": record["questions"]["testing"],
        "pictures": record["pictures"],
        "keeps": record["keeps"],
        "accuracy": record["testing"][record["chosen"]],
        "unpruned": record["testing"]["all visual tokens"],
        "difference_to": record["difference_to"],
        "level": record["level"],
        "pays": record["pays"],
        "beside_diversity": _weight_and_quality(record["beside_diversity"]),
    }
    return replace(book, config={**book.config, "calibrated": quality})


def _weight_and_quality(found: BesideDiversity) -> WeightAndQuality:
    """What a book says of itself beside diversity."""
    return {
        "weight": found["weight"],
        "accuracy": next(iter(found["testing"].values()), None),
        "difference_to": found["difference_to"],
        "pays": found["pays"],
    }


class Trials:
    """What is tried for a calibration on one model: each result is measured into the cache by itself."""

    def __init__(self, plan: CalibrationPlan, evidence: Evidence, vlm: VLM) -> None:
        self._evidence, self._clustering = evidence, plan.clustering
        cache = ResultCache(plan.cache)
        self._choosing, self._testing = (TaskRun(vlm, plan.task, half, (), cache) for half in plan.halves)

    def __call__(self, job: Job) -> Any:
        """Do what `CalibrationPlan.decide` asks for."""
        return job(self)

    def choose(self, condition: Condition) -> Tried | str:
        """The book of a condition with its accuracy on the questions that choose, or why there is none."""
        book = _book(self._evidence, condition, self._clustering)
        return book if isinstance(book, str) else (book, self.accuracy(_pruners(book)))

    def accuracy(self, pruners: Sequence[Pruner]) -> float:
        """Of the questions that choose, mean over the pruners."""
        return float(_mean(self._choosing, pruners).mean())

    def test(self, pruners: Sequence[Pruner]) -> Scores:
        """The score of every question that tests, mean over the pruners."""
        self._choosing.release()
        return _mean(self._testing, pruners)

    def unpruned_and_blind(self) -> tuple[Scores, Scores]:
        """The same with all visual tokens, and with none."""
        self._choosing.release()
        whole, blind = (np.array(self._testing.result(each).scores) for each in self._testing.measurements)
        return whole, blind


Job = Callable[[Trials], Any]
Run = Callable[[Sequence[Job]], list[Any]]


def conditions(asked_alone: Sequence[str] = QUESTIONS) -> dict[str, Condition]:
    """Every named criterion, with its quantiles at each of SHARES; of a single question without those that
    read the answers to all, which would say the same twice.
    """
    found: dict[str, Condition] = {}
    for name, condition in CRITERIA.items():
        if condition.signal in OVER_QUESTIONS and len(asked_alone) == 1:
            continue
        at_shares = {f"{name} q{share}": condition.at(share) for share in SHARES}
        found |= at_shares if condition.at(1) != condition else {name: condition}
    return found


def _book(evidence: Evidence, condition: Condition, clustering: Clustering) -> Codebook | str:
    """The book, or why there is none."""
    try:
        return build_codebook(evidence, condition, clustering)
    except UsageError as error:
        return str(error)


def _built(tried: Mapping[str, Tried | str]) -> dict[str, Tried]:
    """What was built. Raises UsageError, with the first reason, if that is nothing."""
    built = {label: each for label, each in tried.items() if not isinstance(each, str)}
    if not built:
        label, reason = next(iter(tried.items()))
        raise UsageError(f"{label}: {reason}")
    return built


def best_of(accuracies: Mapping[T, float]) -> T:
    """The first of those that are as good as the best, whatever the order of a sum made of their last
    digits.
    """
    return max(accuracies, key=lambda each: round(accuracies[each], 9))


def _mean(run: TaskRun, pruners: Sequence[Pruner]) -> Scores:
    """The score of every question, mean over the pruners."""
    scores: Scores = np.mean([run.result(run.of(pruner)).scores for pruner in pruners], 0)
    return scores


def _pruners(book: Codebook) -> list[Pruner]:
    return [CodebookPruner(codebook=book, keep=keep) for keep in KEEPS]


def _diversity() -> list[Pruner]:
    return [DivPrune(keep=keep) for keep in KEEPS]


def _weighed(book: Codebook, weight: float) -> list[Pruner]:
    return [CodebookMMR(codebook=book, weight=weight, keep=keep) for keep in KEEPS]
