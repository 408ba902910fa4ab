"""Conditions and named criteria worked out by hand, on made-up evidence of a few tokens."""

import json
from pathlib import Path
from typing import get_args

import pytest
import torch

from wordsight.algorithms.divergence import MEASURES
from wordsight.algorithms.ranking import ranks
from wordsight.errors import UsageError
from wordsight.redundancy.criteria import CRITERIA, DEFAULT, PAPER, Condition, Measure, Quantile, criterion


@pytest.fixture(scope="module")
def rows_of(evidence_of):
    """A function: the signals of evidence with this confidence, and these divergences by one measure."""

    def make(confidence, regional, whole, measure="jensen_shannon"):
        return evidence_of(
            {"confidence": confidence, f"regional/{measure}": regional, f"global/{measure}": whole}
        ).signals

    return make


#                       sure  and moving  | unsure, still | unsure, moving | sure, still
CONFIDENCE = [0.90, 0.10, 0.12, 0.80]
REGIONAL = [0.50, 0.02, 0.01, 0.00]
GLOBAL = [0.20, 0.01, 0.30, 0.01]
# 1 * regional + 16 * global = 3.70, 0.18, 4.81, 0.16


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("confidence", "divergence", "expected"),
    [
        (0.5, 1.0, [False, True, False, False]),
        (0.5, None, [False, True, True, False]),
        (None, 1.0, [False, True, False, True]),
        (None, None, [True, True, True, True]),
        (0.10, 1.0, [False, False, False, False]),
        (0.5, 0.17, [False, False, False, False]),
        (Quantile(0.5), None, [False, True, True, False]),
        (None, Quantile(0.5), [False, True, False, True]),
        (Quantile(0.75), Quantile(0.75), [False, True, False, True]),
    ],
)
def test_a_token_is_redundant_where_both_halves_lie_below_their_thresholds(
    rows_of, measure, confidence, divergence, expected
):
    condition = Condition(confidence=confidence, divergence=divergence, measure=measure)
    assert condition.holds(rows_of(CONFIDENCE, REGIONAL, GLOBAL, measure)).tolist() == expected


def test_the_divergence_is_regional_plus_sixteen_times_global(rows_of):
    weighted = Condition().weighted_divergence(rows_of(CONFIDENCE, REGIONAL, GLOBAL))
    torch.testing.assert_close(weighted, torch.tensor([3.70, 0.18, 4.81, 0.16]))


def test_the_weights_of_both_scopes_are_options(rows_of):
    weighted = Condition(regional_weight=2, global_weight=0).weighted_divergence(
        rows_of(CONFIDENCE, REGIONAL, GLOBAL)
    )
    torch.testing.assert_close(weighted, torch.tensor([1.0, 0.04, 0.02, 0.0]))


def test_the_condition_reads_only_its_own_measure(rows_of):
    signals = rows_of(CONFIDENCE, REGIONAL, GLOBAL, "released_divergence")
    assert not Condition(confidence=None, divergence=1.0, measure="jensen_shannon").holds(signals).any()


def test_the_default_takes_both_medians(rows_of):
    assert Condition().holds(rows_of(CONFIDENCE, REGIONAL, GLOBAL)).tolist() == [False, True, False, False]


def test_the_paper_condition_is_that_of_llava_15():
    assert (PAPER.confidence, PAPER.divergence, PAPER.measure) == (0.15, 2e-3, "released_divergence")


@pytest.mark.parametrize(
    ("share", "below"), [(0.1, 10), (0.29, 29), (0.5, 50), (0.57, 57), (0.99, 99), (1.0, 100)]
)
def test_a_quantile_has_its_share_of_the_evidence_below_it(rows_of, share, below):
    values = torch.randperm(100, generator=torch.Generator().manual_seed(0)) / 100
    signals = rows_of(values, torch.zeros(100), torch.zeros(100))
    assert Condition(confidence=Quantile(share), divergence=None).holds(signals).sum() == below


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5])
def test_a_quantile_outside_its_range_is_refused(share):
    with pytest.raises(UsageError, match=r"\(0, 1\]"):
        Condition(confidence=Quantile(share))


def test_resolving_a_condition_leaves_values_that_hold_for_the_same_tokens(rows_of):
    signals = rows_of(CONFIDENCE, REGIONAL, GLOBAL)
    values = Condition().resolve(signals)
    assert values.confidence == pytest.approx(0.8)
    assert values.divergence == pytest.approx(3.7)
    assert torch.equal(values.holds(signals), Condition().holds(signals))


def test_a_condition_knows_every_measure():
    assert get_args(Measure) == tuple(MEASURES)


def test_an_unknown_measure_is_refused_with_the_known_ones():
    with pytest.raises(
        UsageError, match="measure must be 'jensen_shannon' or 'released_divergence', got 'euclid'"
    ):
        Condition(measure="euclid")


# Four tokens; the two lowest of each signal are below its median.
FOUR = {
    "confidence": [0.10, 0.40, 0.30, 0.12],
    "certainty": [0.4, 0.1, 0.2, 0.3],
    "blind_divergence": [0.3, 0.1, 0.4, 0.2],
    "questions": [0.1, 0.2, 0.3, 0.4],
    "questions_divergence": [0.2, 0.4, 0.1, 0.3],
    "regional/jensen_shannon": [0.04, 0.03, 0.02, 0.01],
    "global/jensen_shannon": [0.002, 0.001, 0.004, 0.003],  # regional + 16 global: .072, .046, .084, .058
    "regional/released_divergence": [1e-4, 0.0, 0.0, 1e-4],
    "global/released_divergence": [1e-4, 0.0, 0.0, 1.3e-4],  # .0017, 0, 0, .00218
}
HOLDS = {
    "paper": [True, False, False, False],
    "both_halves": [False, False, False, True],
    "confidence": [True, False, False, True],
    "certainty": [False, True, True, False],
    "blind_divergence": [False, True, False, True],
    "questions": [True, True, False, False],
    "questions_divergence": [True, False, True, False],
    "regional": [False, False, True, True],
    "global": [True, True, False, False],
    "context": [False, True, False, True],
}


@pytest.fixture(scope="module")
def four(evidence_of):
    return evidence_of(FOUR).signals


def test_every_criterion_is_worked_out_here():
    assert set(HOLDS) == set(CRITERIA)


@pytest.mark.parametrize("name", HOLDS)
def test_a_criterion_holds_where_it_should(four, name):
    assert criterion(name).holds(four).tolist() == HOLDS[name]


@pytest.mark.parametrize("name", HOLDS)
def test_a_criterion_at_one_holds_everywhere_and_the_papers_values_do_not_move(four, name):
    assert criterion(name).at(1).holds(four).all() == (name != "paper")


@pytest.mark.parametrize("name", HOLDS)
def test_a_resolved_criterion_holds_for_the_same_tokens(four, name):
    assert criterion(name).resolve(four).holds(four).tolist() == HOLDS[name]


def test_the_default_is_what_the_verdict_chose():
    verdict = json.loads((Path(__file__).parents[2] / "benchmarks/results/verdict.json").read_text())
    assert criterion("default") == DEFAULT == CRITERIA[verdict["default"]].at(0.7)
    assert Condition() == criterion("both_halves")


def test_an_unknown_criterion_is_refused_with_the_known_ones():
    with pytest.raises(
        UsageError, match=r"unknown criterion 'certain': .*choose from .*both_halves, .*paper"
    ):
        criterion("certain")


def test_at_moves_the_quantiles_and_nothing_else():
    condition = Condition(confidence=Quantile(0.2), divergence=0.3, signal="certainty", global_weight=2.0)
    moved = Condition(confidence=Quantile(0.7), divergence=0.3, signal="certainty", global_weight=2.0)
    assert condition.at(0.7) == moved


@pytest.mark.parametrize("condition", [PAPER, Condition(confidence=None, divergence=None)])
def test_at_leaves_a_condition_without_quantiles_as_it_is(condition):
    assert condition.at(0.3) == condition


@pytest.mark.parametrize(("share", "count"), [(0.25, 1), (0.5, 2), (0.75, 3), (1.0, 4)])
def test_a_criterion_holds_for_the_share_that_it_is_moved_to(four, share, count):
    assert criterion("certainty").at(share).holds(four).sum() == count


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("confidence", [0, 3, 2, 1]),
        ("questions_divergence", [1, 3, 0, 2]),
        ("regional", [3, 2, 1, 0]),
        ("global", [1, 0, 3, 2]),
        ("context", [2, 0, 3, 1]),
        ("both_halves", [2, 3, 3, 1]),
    ],
)
def test_information_is_the_higher_rank_of_both_halves(four, name, places):
    torch.testing.assert_close(criterion(name).information(four), torch.tensor(places) / 3)


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([0.3, 0.1, 0.2], [1, 0, 0.5]),
        ([5, 5, 5], [0.5, 0.5, 0.5]),
        ([1, 0, 1, 2, 1], [0.5, 0, 0.5, 1, 0.5]),
        ([0, 0, 7, 9], [1 / 6, 1 / 6, 2 / 3, 1]),
        ([4], [0]),
    ],
)
def test_ranks_are_places_from_zero_to_one_that_ties_share(values, places):
    torch.testing.assert_close(ranks(torch.tensor(values)), torch.tensor(places).float())


def test_information_ranks_a_token_among_those_given(four):
    last = {name: values[1:] for name, values in four.items()}
    assert criterion("confidence").information(last).tolist() == [1.0, 0.5, 0.0]


def test_information_of_equal_signals_is_equal(four):
    tied = {**four, "confidence": torch.tensor([0.5, 0.1, 0.5, 0.5])}
    torch.testing.assert_close(
        criterion("confidence").information(tied), torch.tensor([2 / 3, 0.0, 2 / 3, 2 / 3])
    )


def test_information_of_a_single_token_is_none(four):
    alone = {name: values[:1] for name, values in four.items()}
    assert criterion("both_halves").information(alone).tolist() == [0.0]


def test_information_without_a_half_to_lack_is_none(four):
    everything = Condition(confidence=None, divergence=None)
    assert everything.information(four).tolist() == [0.0] * 4


def test_an_unknown_signal_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match=r"signal must be 'confidence' or 'certainty' or .*, got 'loudness'"):
        Condition(signal="loudness")


@pytest.mark.parametrize("given", [{"confidence": 0.0}, {"divergence": -1.0}])
def test_a_threshold_below_which_nothing_can_be_is_refused(given):
    with pytest.raises(UsageError, match=r"must be a threshold above 0 or a quantile or none, got"):
        Condition(**given)


@pytest.mark.parametrize("half", ["confidence", "divergence"])
def test_a_threshold_that_is_no_number_is_refused(half):
    with pytest.raises(
        UsageError, match=f"{half} must be a threshold above 0 or a quantile or none, got nan"
    ):
        Condition(**{half: float("nan")})


def test_a_condition_as_json_tells_quantiles_from_values():
    record = Condition(confidence=Quantile(0.3), divergence=0.5, signal="certainty").as_json()
    assert (record["confidence"], record["divergence"], record["signal"]) == (
        {"quantile": 0.3},
        0.5,
        "certainty",
    )
