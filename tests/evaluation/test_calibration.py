"""Calibration of a model that tells which tokens it was shown, on evidence with and without a signal."""

import json
import statistics
from dataclasses import dataclass, replace

import pytest
import torch

from wordsight.errors import UsageError
from wordsight.evaluation import calibration as module
from wordsight.evaluation.calibration import CONTROL_SEEDS, KEEPS, WEIGHTS, calibrate, conditions
from wordsight.models.generation import Generated
from wordsight.models.prompt import Prompt
from wordsight.models.tokens import VisualTokens
from wordsight.models.vlm import VLM
from wordsight.pruners.codebook import CodebookPruner
from wordsight.pruners.codebook_mmr import CodebookMMR
from wordsight.pruners.divprune import DivPrune
from wordsight.pruners.random import Random
from wordsight.redundancy.build import Clustering, build_codebook, random_codebook
from wordsight.redundancy.criteria import CRITERIA, Quantile
from wordsight.redundancy.evidence import SIGNALS
from wordsight.redundancy.probe import NOISE_FLOOR
from wordsight.tasks.base import Example, Task

TOKENS, PICTURES = 40, 40
CLUSTERING = Clustering(image_clusters=2, largest=TOKENS, clusters=4, images=0)


def shown(picture):
    """The tokens of a picture, and which are loud: every second, far from the dull ones."""
    generator = torch.Generator().manual_seed(picture)
    is_loud = torch.randperm(TOKENS, generator=generator) % 2 == 0
    embeds = 0.02 * torch.randn(TOKENS, 32, generator=generator)
    embeds[is_loud, 0] += 1
    embeds[~is_loud, 1] += 1
    return embeds, is_loud


class Teller(VLM):
    """Shown a number for a picture, it says which share of the tokens it read was loud."""

    _shares_answers = False

    def encode(self, images, question, *, turns=(), signals=frozenset(), visual=None):
        embeds, place = shown(int(images))[0], torch.arange(TOKENS)
        visual = VisualTokens(embeds, place, torch.zeros(TOKENS, 4, dtype=torch.long))
        return Prompt({}, torch.ones(TOKENS, dtype=torch.bool), visual)

    def generated(self, prompts, *, max_new_tokens=None, min_new_tokens=0, clock=None):
        loud = [prompt.visual.embeds[:, 0] > 0.5 for prompt in prompts]
        shares = [str(float(each.float().mean())) if len(each) else "0.5" for each in loud]
        return [Generated(share, cut=False) for share in shares]


@dataclass(kw_only=True)
class Share(Task):
    """Two questions about every picture: how loud, and in some pictures how dull, are the tokens read?"""

    dull: frozenset[int] = frozenset()

    def examples(self):
        for picture in range(PICTURES):
            answer = "dull" if picture in self.dull else "loud"
            for _ in range(2):
                yield Example(str(picture), str(picture), "?", answer, "any")

    def score(self, example, said):
        return float(said) if example.answer == "loud" else 1 - float(said)


FIRST, SECOND = frozenset(range(PICTURES // 2)), frozenset(range(PICTURES // 2, PICTURES))


@pytest.fixture(scope="module", autouse=True)
def unchecked():
    """What is shown here is no picture that can be opened."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wordsight.evaluation.calibration.check_examples", lambda *_: None)
        patch.setattr("wordsight.media.inputs.MediaInput.of", lambda shown: shown)
        yield


@pytest.fixture(scope="module")
def teller(tiny):
    return Teller(tiny.model, tiny.processor, "teller")


@pytest.fixture(scope="module")
def planted(evidence_of, teller):
    """Evidence whose certainty alone tells dull from loud; the other signals are noise."""
    embeds, is_loud = (torch.cat(parts) for parts in zip(*map(shown, range(100, 112)), strict=True))
    generator = torch.Generator().manual_seed(0)
    noise = {name: torch.rand(len(embeds), generator=generator) for name in SIGNALS}
    image = torch.arange(len(embeds)) // TOKENS
    found = evidence_of(noise | {"certainty": noise["certainty"] + is_loud}, embeds, image)
    known = {"model": teller.name, "fingerprint": teller.fingerprint}
    return replace(found, manifest=found.manifest | known)


def run(teller, evidence, dull=frozenset(), questions=600):
    return calibrate(teller, evidence, Share(dull=dull), questions=questions, clustering=CLUSTERING)


@pytest.fixture(scope="module")
def good(teller, planted):
    return run(teller, planted)


def test_a_book_of_tokens_that_say_nothing_pays(good):
    assert good.record["pays"] is True
    assert good.record["chosen"].startswith("certainty")
    assert good.record["testing"][good.record["chosen"]] > 0.95


def test_the_tokens_of_the_evidence_that_say_nothing_are_counted(good, planted):
    quiet = sum(far < NOISE_FLOOR for far in planted.signals["blind_divergence"].tolist())
    assert good.record["silence"]["share"] == pytest.approx(quiet / len(planted))
    assert good.record["silence"]["pictures"] == len(set(planted.image.tolist()))


def test_random_tokens_and_books_of_random_tokens_read_as_much_of_everything(good):
    for control in ("random tokens", "codebooks of random tokens"):
        assert good.record["testing"][control] == pytest.approx(0.5, abs=0.08)


def test_no_book_pays_where_no_signal_tells_anything(teller, planted):
    signals = planted.signals | {"certainty": planted.signals["confidence"].flip(0)}
    assert run(teller, replace(planted, signals=signals)).record["pays"] is False


def test_the_second_half_does_not_choose(teller, planted, good):
    turned = run(teller, planted, dull=SECOND).record
    assert turned["chosen"] == good.record["chosen"]
    assert turned["choosing"] == good.record["choosing"]
    assert turned["testing"][turned["chosen"]] < 0.05
    assert turned["pays"] is False


def test_the_first_half_does_not_test(teller, planted):
    turned = run(teller, planted, dull=FIRST).record
    assert not turned["chosen"].startswith("certainty")
    assert turned["testing"]["all visual tokens"] == 0.5


def test_the_halves_share_no_picture(good, teller, planted):
    assert good.record["questions"] == {"choosing": PICTURES, "testing": PICTURES}
    # Seven pictures take turns to ask one of their questions.
    assert run(teller, planted, questions=7).record["questions"] == {"choosing": 3, "testing": 4}


def slow_scores(teller, pruners, half=SECOND):
    """Every question about these pictures, mean over the pruners."""
    scores = []
    for picture in sorted(half):
        prompt, is_loud = teller.encode(str(picture), "?"), shown(picture)[1]
        shares = [is_loud[pruner(prompt).visual.slot].float().mean().item() for pruner in pruners]
        scores += [statistics.fmean(shares)] * 2
    return scores


@pytest.fixture(scope="module")
def by_hand(teller, planted, good):
    """Scores of the book and of both controls on the second half, read off the tokens they keep."""

    def books(*chosen):
        return [CodebookPruner(codebook=book, keep=keep) for book in chosen for keep in KEEPS]

    controls = [random_codebook(planted, len(good.book.prototypes), seed) for seed in CONTROL_SEEDS]
    drawn = [Random(keep=keep, seed=seed) for keep in KEEPS for seed in range(3)]
    return {
        "book": slow_scores(teller, books(good.book)),
        "random tokens": slow_scores(teller, drawn),
        "codebooks of random tokens": slow_scores(teller, books(*controls)),
    }


def test_accuracies_are_means_over_keeps_and_seeds_on_the_second_half(good, by_hand):
    testing = good.record["testing"]
    assert testing[good.record["chosen"]] == pytest.approx(statistics.fmean(by_hand["book"]))
    for name in ("random tokens", "codebooks of random tokens"):
        assert testing[name] == pytest.approx(statistics.fmean(by_hand[name]))


@pytest.mark.parametrize("control", ["random tokens", "codebooks of random tokens"])
def test_intervals_are_corrected_for_two_comparisons(good, by_hand, control):
    differences = [a - b for a, b in zip(by_hand["book"], by_hand[control], strict=True)]
    mean, low, high = good.record["difference_to"][control]
    assert good.record["level"] == 0.975
    assert mean == pytest.approx(statistics.fmean(differences))
    # Both questions about a picture have the same difference; t of 19 degrees of freedom at 97.5 %.
    reach = 2.43344 * statistics.stdev(differences[::2]) / 20**0.5
    assert (low, high) == pytest.approx((mean - reach, mean + reach), abs=1e-5)


@pytest.mark.parametrize("lows", [(0.1, -0.01), (-0.01, 0.1), (0.1, 0.0)])
def test_a_book_that_does_not_beat_both_controls_does_not_pay(teller, planted, monkeypatch, lows):
    bounds = iter([*lows, 0.1, 0.1, 0.1, 0.1, *lows])  # of the book alone, then beside diversity
    monkeypatch.setattr(module, "paired_interval", lambda *_: (next(bounds), 0.2))
    monkeypatch.setattr(module, "CRITERIA", {"certainty": CRITERIA["certainty"]})
    for pays_alone in (False, True):
        record = run(teller, planted).record
        assert (record["pays"], record["beside_diversity"]["pays"]) == (pays_alone, not pays_alone)


def test_the_first_of_those_that_tie_is_chosen_whatever_rounding_says():
    sums = [0.9, 0.9244444444444444, 0.9244444444444446, 0.92]  # twice 832 of 900, in another order
    assert module.best_of(dict(zip((0.0, 0.1, 0.2, 0.3), sums, strict=True))) == 0.1
    assert module.best_of({"first": 0.75, "better": 0.7511111}) == "better"  # one answer of 900


def weighed(weight, *books):
    return [CodebookMMR(codebook=book, weight=weight, keep=keep) for book in books for keep in KEEPS]


def slow_accuracies(teller, *books):
    return [statistics.fmean(slow_scores(teller, weighed(weight, *books), FIRST)) for weight in WEIGHTS]


@pytest.fixture(scope="module")
def drawn(planted, good):
    return [random_codebook(planted, len(good.book.prototypes), seed) for seed in CONTROL_SEEDS]


def test_weights_beside_diversity_are_the_best_on_the_first_half(teller, good, drawn):
    found = good.record["beside_diversity"]
    ours, random_books = slow_accuracies(teller, good.book), slow_accuracies(teller, *drawn)
    without = statistics.fmean(slow_scores(teller, [DivPrune(keep=keep) for keep in KEEPS], FIRST))
    assert [tried["weight"] for tried in found["choosing"]] == list(WEIGHTS)
    assert [tried["accuracy"] for tried in found["choosing"]] == pytest.approx(ours)
    assert [tried["random_books"] for tried in found["choosing"]] == pytest.approx(random_books)
    assert found["divprune"] == pytest.approx(without)
    assert max(ours) > without
    assert found["weight"] == WEIGHTS[ours.index(max(ours))]
    best = max(random_books)
    assert found["random_books_weight"] == (WEIGHTS[random_books.index(best)] if best > without else 0)


def test_a_weight_is_tested_against_diversity_and_random_books_of_their_own_weight(teller, good, drawn):
    found = good.record["beside_diversity"]
    ours = f"codebook_mmr:weight={found['weight']}"
    slow = {
        ours: slow_scores(teller, weighed(found["weight"], good.book)),
        "divprune": slow_scores(teller, [DivPrune(keep=keep) for keep in KEEPS]),
        "codebooks of random tokens": slow_scores(teller, weighed(found["random_books_weight"], *drawn)),
    }
    means = {name: statistics.fmean(scores) for name, scores in slow.items()}
    assert found["testing"] == pytest.approx(means)
    assert found["difference_to"].keys() == means.keys() - {ours}
    for name, (mean, low, _) in found["difference_to"].items():
        assert mean == pytest.approx(means[ours] - means[name])
        assert low > 0
    assert found["pays"] is True


def test_where_diversity_alone_is_best_no_weight_is_tested(teller, planted, monkeypatch):
    """Evidence that has dull and loud the wrong way round, of which the criterion is told the wrong way."""
    signals = planted.signals | {"certainty": 2 - planted.signals["certainty"]}
    monkeypatch.setattr(module, "CRITERIA", {"certainty": CRITERIA["certainty"]})
    found = run(teller, replace(planted, signals=signals)).record["beside_diversity"]
    assert found["divprune"] > max(tried["accuracy"] for tried in found["choosing"])
    assert (found["weight"], found["pays"], found["testing"], found["difference_to"]) == (0, False, {}, {})


def test_the_book_and_the_record_are_of_the_criterion_that_was_chosen(good, planted):
    record, config = good.record, good.book.config
    name, _, share = record["chosen"].partition(" q")
    again = build_codebook(planted, CRITERIA[name].at(float(share)), CLUSTERING)
    assert torch.equal(good.book.prototypes, again.prototypes)
    assert record["settings"] == config["condition"] == CRITERIA[name].at(float(share)).as_json()
    assert record["prototypes"] == len(again.prototypes)
    assert record["choosing"][record["chosen"]] == max(record["choosing"].values())


def test_the_book_says_how_well_it_did(good):
    quality, record = good.book.config["calibrated"], good.record
    assert quality["accuracy"] == record["testing"][record["chosen"]]
    assert quality["unpruned"] == record["testing"]["all visual tokens"]
    shared = ("task", "pictures", "keeps", "difference_to", "level", "pays")
    assert {name: quality[name] for name in shared} == {name: record[name] for name in shared}
    assert quality["questions"] == record["questions"]["testing"]
    beside, found = quality["beside_diversity"], record["beside_diversity"]
    assert beside["accuracy"] == max(found["testing"].values())
    shared = ("weight", "difference_to", "pays")
    assert {name: beside[name] for name in shared} == {name: found[name] for name in shared}


def test_the_record_can_be_written_and_names_task_keeps_and_model(good):
    record = json.loads(json.dumps(good.record))
    assert (record["task"], record["keeps"]) == (f"{__name__}:Share", list(KEEPS))
    assert record["environment"]["model"] == "teller"
    assert record["testing"]["all visual tokens"] == record["testing"]["none"] == 0.5


def test_every_criterion_is_tried_at_every_share_and_the_papers_once(good):
    tried = conditions()
    expected = {f"{name} q{share}" for name in CRITERIA if name != "paper" for share in (0.3, 0.5, 0.7)}
    assert set(tried) == {"paper", *expected}
    assert tried["certainty q0.3"].confidence == Quantile(0.3)
    assert set(good.record["choosing"]) <= set(tried)


def test_of_a_single_question_no_criterion_is_tried_twice(teller, planted):
    over = {"questions", "questions_divergence"}
    assert {name.split()[0] for name in conditions(["one?", "two?"])} == CRITERIA.keys()
    assert {name.split()[0] for name in conditions(["one?"])} == CRITERIA.keys() - over
    asked = replace(planted, manifest=planted.manifest | {"questions": ["one?"]})
    assert not any("questions" in name for name in run(teller, asked).record["choosing"])


def test_a_criterion_that_leaves_no_prototype_is_left_out(good):
    assert "paper" not in good.record["choosing"]


def test_evidence_of_another_model_is_refused(teller, planted):
    foreign = replace(planted, manifest=planted.manifest | {"fingerprint": "f00d"})
    with pytest.raises(UsageError, match="fingerprint f00d"):
        run(teller, foreign)


def test_evidence_of_another_width_is_refused(teller, planted):
    with pytest.raises(UsageError, match=r"D=31 .* D=32"):
        run(teller, replace(planted, embeds=planted.embeds[:, :31]))


@pytest.mark.parametrize("questions", [1, 3])
def test_questions_about_too_few_pictures_are_refused(teller, planted, questions):
    with pytest.raises(UsageError, match=f"about at least four pictures, .* got {questions}"):
        run(teller, planted, questions=questions)


def test_a_book_that_too_few_pictures_test_does_not_pay(teller, planted, good):
    record = run(teller, planted, questions=38).record
    assert (record["pictures"], record["enough_pictures"], record["pays"]) == (19, False, False)
    assert all(low > 0 for _, low, _ in record["difference_to"].values())
    assert (good.record["pictures"], good.record["enough_pictures"]) == (20, True)


def test_evidence_of_which_no_criterion_leaves_a_prototype_is_refused(teller, planted):
    with pytest.raises(UsageError, match="no prototype is left"):
        calibrate(teller, planted, Share(), clustering=replace(CLUSTERING, largest=1))
