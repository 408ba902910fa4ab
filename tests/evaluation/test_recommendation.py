"""Recommendations for a model that scores as many points as it reads good tokens, against sums by hand."""

import json
import statistics
from collections import Counter
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wordsight.errors import UsageError
from wordsight.evaluation import recommendation as module
from wordsight.evaluation.recommendation import Requirements, recommend
from wordsight.evaluation.statistics import pictures_needed
from wordsight.models.generation import Generated
from wordsight.models.prompt import Prompt
from wordsight.models.tokens import VisualTokens
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner, ScorePruner
from wordsight.pruners.codebook import CodebookPruner
from wordsight.pruners.fastv import FastV
from wordsight.pruners.random import Random
from wordsight.tasks.base import Example, Task

TOKENS, PICTURES = 20, 60
TERMS = Requirements(budget=0.5)


def is_good(name):
    """Which tokens of a picture are worth a point: half of them."""
    picture = int(name.rpartition(" ")[2])
    order = torch.randperm(TOKENS, generator=torch.Generator().manual_seed(picture))
    return order % 2 == 0


class Reader(VLM):
    """Shown the name of a picture, it says which share of its good tokens it read."""

    _shares_answers = False

    def encode(self, images, question, *, turns=(), signals=frozenset(), visual=None):
        if visual is None and not images.startswith("small"):
            self.encoded.append(images)
        embeds = torch.zeros(TOKENS, 32)
        embeds[:, 0] = is_good(images) * 1.0
        embeds[:, 1] = int(images.rpartition(" ")[2]) / 1024 + 1
        place = torch.arange(TOKENS)
        whole = VisualTokens(embeds, place, torch.zeros(TOKENS, 4, dtype=torch.long))
        return Prompt({}, torch.ones(TOKENS, dtype=torch.bool), visual or whole)

    def generated(self, prompts, *, max_new_tokens=None, min_new_tokens=0, clock=None):
        shares = [float(prompt.visual.embeds[:, 0].sum()) / (TOKENS / 2) for prompt in prompts]
        return [Generated(str(share), cut=False) for share in shares]


@dataclass(kw_only=True)
class Share(Task):
    """One to three questions about every picture; in turned ones reading good tokens is bad."""

    turned: bool = False

    def examples(self):
        for number in range(PICTURES):
            name = f"{self.split} {number + 1000 * (self.split == 'test')}"
            for _ in range(1 + number % 3):
                yield Example(name, name, "?", "turned" if self.turned else "kept", "any")

    def score(self, example, said):
        return 1 - float(said) if example.answer == "turned" else float(said)


@dataclass(kw_only=True)
class Choosy(ScorePruner):
    """Keeps good tokens first; a share of the pictures, at random, it prunes the wrong way round."""

    errors: float = 0.0

    def score(self, tokens):
        chosen.append((self.errors, float(tokens.embeds[0, 1])))
        draw = np.random.default_rng([int(tokens.embeds[0, 1] * 1024), int(self.errors * 100)]).random()
        return tokens.embeds[:, 0] * (-1 if draw < self.errors else 1)


chosen = []


@pytest.fixture
def reader(tiny):
    chosen.clear()
    made = Reader(tiny.model, tiny.processor, "reader")
    made.encoded = []
    return made


@pytest.fixture(autouse=True)
def times(monkeypatch):
    """How long the pruners of a measurement take, in place of measuring: 100 ms unpruned, 50 pruned."""
    taken = {}

    def measured(vlm, examples, pruner):
        each = taken.get(getattr(pruner, "errors", repr(pruner)), 50.0)
        ratio = {"total": [each / 100, each / 100, each / 100]}
        spans = {"milliseconds": {"total": each}, "unpruned_milliseconds": {"total": 100.0}}
        return {"batches": [{**spans, "ratio": ratio}]}

    monkeypatch.setattr(module, "CLOCK", SimpleNamespace(measure=measured, rounds=16))
    return taken


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    """What is shown here is no picture that can be opened."""
    monkeypatch.setattr(module, "check_examples", lambda *_: None)
    monkeypatch.setattr("wordsight.media.inputs.MediaInput.of", lambda shown: shown)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """What resized pictures are called: the model makes as many tokens of them, all as good."""
    monkeypatch.setattr("wordsight.evaluation.prepared_task.resized", lambda name, share: f"small {name}")


def run(reader, *pruners, terms=TERMS, turned=()):
    tasks = {split: Share(split=split, turned=split in turned) for split in ("validation", "test")}
    return recommend(reader, **tasks, requirements=terms, pruners=pruners)


def name_of(errors):
    return f"{__name__}:Choosy" + (f":errors={errors}" if errors else "")


def test_the_best_is_found_and_confirmed(reader):
    pruners = [Choosy(errors=errors) for errors in (0.9, 0.0, 0.3)]
    record = run(reader, *pruners, terms=replace(TERMS, tolerance=0.07))
    assert (record["leader"], record["winner"], record["verdict"]) == (name_of(0), name_of(0), "pays")
    assert record["test"]["accuracy"] == pytest.approx(
        {
            "none": 1.0,
            name_of(0): 1.0,
            name_of(0.3): by_hand(0.3, "test"),
            "random": record["test"]["accuracy"]["random"],
            "resized": 1.0,
        }
    )
    assert record["test"]["tokens"]["resized"] == TOKENS
    assert record["test"]["tokens"][name_of(0)] == TOKENS / 2


def points(errors, split):
    """What Choosy scores on every picture: nothing where it prunes the wrong way round."""
    for number in range(PICTURES):
        shown = number + 1000 * (split == "test")
        seed = [int((shown / 1024 + 1) * 1024), int(errors * 100)]
        yield float(np.random.default_rng(seed).random() >= errors)


def by_hand(errors, split):
    """The accuracy over questions, one to three about a picture."""
    return statistics.fmean(
        point for number, point in enumerate(points(errors, split)) for _ in range(1 + number % 3)
    )


def test_differences_are_to_the_same_questions_with_and_without(reader):
    record = run(reader, Choosy(errors=0.2), Choosy(errors=0.9))
    mean, low, high = record["test"]["difference_to"]["none"]
    assert mean == pytest.approx(by_hand(0.2, "test") - 1)
    assert low < mean < high <= 0
    assert {"none", "random"} <= set(record["test"]["difference_to"])


def test_accuracies_of_the_race_are_means_over_pictures(reader):
    record = run(reader, Choosy(errors=0.1), Choosy(errors=0.12))
    row = record["candidates"][name_of(0.1)]
    assert (row["questions"], row["pictures"]) == (2 * PICTURES, PICTURES)
    assert row["accuracy"] == pytest.approx(statistics.fmean(points(0.1, "validation")))


def test_losers_are_asked_less(reader):
    rows = run(reader, Choosy(), Choosy(errors=0.05), Choosy(errors=0.95))["candidates"]
    assert rows[name_of(0.95)]["dropped"]
    assert rows[name_of(0.95)]["questions"] < rows[name_of(0.05)]["questions"]
    assert not rows[name_of(0)]["dropped"]


def test_the_test_split_does_not_choose(reader):
    straight, turned = (
        run(reader, Choosy(), Choosy(errors=0.9)),
        run(reader, Choosy(), Choosy(errors=0.9), turned={"test"}),
    )
    assert turned["candidates"] == straight["candidates"]
    assert turned["test"]["accuracy"][name_of(0)] == 0.0
    assert turned["winner"] is None


def test_the_validation_split_does_not_confirm(reader):
    record = run(reader, Choosy(), Choosy(errors=0.9), turned={"validation"})
    assert record["leader"] == name_of(0.9)
    assert record["test"]["accuracy"][name_of(0.9)] == pytest.approx(by_hand(0.9, "test"))
    assert (record["verdict"], record["winner"]) == ("does not pay", None)


def test_every_picture_is_encoded_once_and_pruned_once_by_a_pruner(reader):
    record = run(reader, Choosy(), Choosy(errors=0.05))
    assert set(Counter(reader.encoded).values()) == {1}
    assert set(Counter(chosen).values()) == {1}
    assert sum(name.startswith("test") for name in reader.encoded) == record["test"]["pictures"]


def test_pictures_that_nobody_is_asked_about_are_not_encoded(reader):
    rows = run(reader, Choosy(), Choosy(errors=0.95))["candidates"].values()
    most = max(row["pictures"] for row in rows)
    assert sum(name.startswith("validation") for name in reader.encoded) == most < PICTURES


def test_random_tokens_are_among_the_candidates_once(reader):
    for pruners in ([Choosy()], [Choosy(), Random()], [Random(seed=3), Choosy()]):
        names = [name for name in run(reader, *pruners)["candidates"] if name.startswith("random")]
        assert len(names) == 1


def test_every_candidate_is_taken_at_the_budget(reader):
    for pruner in (Choosy(keep=0.1), Choosy(tokens=2)):
        record = run(reader, pruner, terms=Requirements(budget=0.3))
        assert set(record["test"]["tokens"].values()) == {TOKENS, 6}


def test_a_pruner_that_is_too_slow_is_left_out(reader, times):
    times[0.0] = 80.0
    record = run(reader, Choosy(), Choosy(errors=0.1), terms=replace(TERMS, latency_ms=60))
    assert record["too_slow"] == [name_of(0)]
    assert record["milliseconds"][name_of(0)] == 80
    assert set(record["candidates"]) == {name_of(0.1), "random"}


def test_nothing_is_chosen_where_all_are_too_slow(reader):
    record = run(reader, Choosy(), terms=replace(TERMS, latency_ms=10))
    assert (record["verdict"], record["winner"]) == ("nothing to choose", None)
    assert record["advice"] == ["No candidate answers a question within 10 ms; the fastest takes 50 ms."]
    assert not reader.encoded


def test_only_the_first_questions_are_asked(reader):
    record = run(reader, Choosy(), terms=replace(TERMS, limit=12))
    assert (record["validation"], record["test"]["questions"], record["test"]["pictures"]) == (12, 12, 12)
    assert record["test"]["enough_pictures"] is False
    assert record["verdict"] == "cannot tell"


def test_only_so_many_pictures_are_asked_about(reader):
    record = run(reader, Choosy(), terms=replace(TERMS, pictures=21))
    assert (record["validation"], record["test"]["questions"], record["test"]["pictures"]) == (42, 42, 21)
    assert record["test"]["enough_pictures"] is True


def test_the_number_of_pictures_is_that_of_the_differences_to_the_unpruned_model(reader):
    test = run(reader, Choosy(errors=0.2), terms=replace(TERMS, tolerance=0.1))["test"]
    each = [point - 1 for n, point in enumerate(points(0.2, "test")) for _ in range(1 + n % 3)]
    names = [str(n) for n in range(PICTURES) for _ in range(1 + n % 3)]
    assert test["pictures_needed"] == pictures_needed(np.array(each), names, 0.1)


def test_the_record_can_be_written_and_names_what_it_takes_to_repeat_it(reader):
    record = json.loads(json.dumps(run(reader, Choosy())))
    assert record["terms"] == TERMS.__dict__
    assert record["environment"]["model"] == "reader"
    assert record["time"]["speed_up"] == [2.0, 2.0, 2.0]
    assert record["test"]["blind"] == 0.0


def test_the_speed_up_is_the_inverse_of_the_ratio_end_for_end(reader, monkeypatch):
    """A question takes half of the time, between two fifths and four fifths: it is answered twice as fast, at
    least 1.25 times and at most 2.5 times.
    """
    spans = {"milliseconds": {"total": 50.0}, "unpruned_milliseconds": {"total": 100.0}}
    taken = {"batches": [{**spans, "ratio": {"total": [0.5, 0.4, 0.8]}}]}
    monkeypatch.setattr(module, "CLOCK", SimpleNamespace(measure=lambda *_: taken, rounds=16))
    time = run(reader, Choosy())["time"]
    assert time["speed_up"] == [2.0, 1.25, 2.5]
    assert (time["unpruned_ms"], time["pruned_ms"]) == ({"total": 100.0}, {"total": 50.0})


def test_without_pruners_it_takes_all_that_can_run(reader):
    methods, left_out = module._methods(reader, None, 0.2)
    assert {"random", "uniform", "divprune"} <= set(methods)
    assert "different" in left_out["codebook"] or "this model" in left_out["codebook"]
    assert not set(methods) & set(left_out)


def test_equal_scores_do_not_pass_for_certainty(reader):
    """By the rule of three, of 60 pictures that are all alike 3.69 in 60 of all others may differ."""
    test = run(reader, Choosy())["test"]
    assert test["difference_to"]["none"] == pytest.approx([0, -3.69 / PICTURES, 3.69 / PICTURES], rel=0.01)
    assert test["pictures_needed"] == 123  # 3.69 / .03


@dataclass(kw_only=True)
class Needy(Pruner):
    required_signals = frozenset({"aura"})


def test_a_pruner_that_cannot_run_is_refused(reader):
    with pytest.raises(UsageError, match="Needy needs aura"):
        run(reader, Needy())


@pytest.mark.parametrize("asked", [{"limit": 1}, {"pictures": 1}, {"limit": 9, "pictures": 1}])
def test_a_split_with_one_picture_is_refused(reader, asked):
    with pytest.raises(UsageError, match="of which one is asked about: expected at least two"):
        run(reader, Choosy(), terms=replace(TERMS, **asked))


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"budget": 0.0}, r"budget must be a share of the tokens in \(0, 1\), got 0\.0"),
        ({"budget": 1.0}, "got 1.0"),
        ({"budget": float("nan")}, "got nan"),
        ({"tolerance": 1.0}, r"tolerance must be a share of the quality in \[0, 1\), got 1\.0"),
        ({"tolerance": -0.1}, "got -0.1"),
        ({"latency_ms": 0.0}, r"latency_ms must be a number of milliseconds in \(0, inf\) or none, got 0\.0"),
        ({"latency_ms": float("inf")}, "got inf"),
        ({"pictures": 0}, "pictures must be a whole number from 1 on or none, got 0"),
        ({"limit": 0}, "limit must be a whole number from 1 on or none, got 0"),
    ],
)
def test_terms_that_cannot_be_met_are_refused(terms, message):
    with pytest.raises(UsageError, match=message):
        Requirements(**terms)


@pytest.mark.parametrize("method", [FastV(layer=1), CodebookPruner(threshold=0.5)])
def test_a_method_that_cannot_be_held_to_a_budget_is_refused(reader, monkeypatch, method):
    monkeypatch.setattr(type(method), "check", lambda self, vlm: None)
    with pytest.raises(UsageError, match="cannot be held to a budget"):
        run(reader, method)
