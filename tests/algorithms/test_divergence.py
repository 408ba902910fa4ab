"""Divergences against their slow definitions and values worked out by hand."""

import math

import pytest
import torch

from wordsight.algorithms.divergence import jensen_shannon, released_divergence


def two_distributions(intact, ablated, top):
    """Both softmaxed over the likeliest entries of the intact one, in float64, with Python's own sums."""
    best = sorted(range(len(intact)), key=lambda i: -intact[i])[:top]
    both = []
    for logits in (intact, ablated):
        powers = [math.exp(logits[i] - max(logits[j] for j in best)) for i in best]
        both.append([power / sum(powers) for power in powers])
    return both


def slow_jensen_shannon(intact, ablated, top=10):
    total = 0.0
    for p, q in zip(*two_distributions(intact, ablated, top), strict=True):
        m = (p + q) / 2
        total += p * math.log(p / m) / 2 + q * math.log(q / m) / 2
    return total


def slow_released(intact, ablated, top=10):
    terms = []
    for p, q in zip(*two_distributions(intact, ablated, top), strict=True):
        m = (p + q) / 2
        terms.append((m * math.log(m / p) + m * math.log(m / q)) / 2)
    return sum(terms) / len(terms)


MEASURES = [(jensen_shannon, slow_jensen_shannon), (released_divergence, slow_released)]
both_measures = pytest.mark.parametrize(("fast", "slow"), MEASURES, ids=["jensen_shannon", "released"])


@both_measures
@pytest.mark.parametrize("spread", [0.01, 0.3, 3, 10])
def test_a_divergence_equals_its_definition(fast, slow, spread):
    intact, moved = 3 * torch.randn(20, 256), torch.randn(20, 256)
    ablated = intact + spread * moved
    expected = [slow(*rows) for rows in zip(intact.tolist(), ablated.tolist(), strict=True)]
    torch.testing.assert_close(
        fast(intact, ablated).double(), torch.tensor(expected).double(), rtol=1e-6, atol=1e-9
    )


@both_measures
@pytest.mark.parametrize("top", [1, 3, 256, 1000])
def test_a_divergence_is_of_the_top_entries_only(fast, slow, top):
    intact, ablated = torch.randn(256), torch.randn(256)
    expected = slow(intact.tolist(), ablated.tolist(), top)
    assert fast(intact, ablated, top).item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@both_measures
def test_a_divergence_of_equal_logits_is_zero(fast, slow):
    intact = torch.randn(5, 256)
    assert fast(intact, intact.clone()).abs().max() < 1e-12


@both_measures
def test_a_divergence_does_not_see_a_shift_of_all_logits(fast, slow):
    intact, ablated = torch.randn(256).double(), torch.randn(256).double()
    assert fast(intact, ablated + 5).item() == pytest.approx(fast(intact, ablated).item())


def test_jensen_shannon_of_certain_and_different_words_is_the_log_of_two():
    intact, ablated = torch.zeros(2, 12), torch.zeros(2, 12)
    intact[:, 0], ablated[:, 1] = 1000, 1000
    torch.testing.assert_close(jensen_shannon(intact, ablated), torch.full((2,), math.log(2)).double())


def test_jensen_shannon_is_never_above_the_log_of_two():
    far = jensen_shannon(50 * torch.randn(500, 40), 50 * torch.randn(500, 40))
    assert far.max() <= math.log(2) + 1e-12


def test_jensen_shannon_is_never_below_zero():
    intact = torch.randn(500, 256).double()
    assert jensen_shannon(intact, intact + 1e-9 * torch.randn(500, 256)).min() >= 0


def test_jensen_shannon_of_two_words_has_the_value_worked_out_by_hand():
    # P = (3/4, 1/4), Q = (1/4, 3/4), M = (1/2, 1/2): 3/4 ln 3/2 + 1/4 ln 1/2.
    intact, ablated = torch.tensor([3.0, 1.0]).log(), torch.tensor([1.0, 3.0]).log()
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert jensen_shannon(intact, ablated).item() == pytest.approx(expected, abs=1e-6)


def test_released_divergence_of_two_words_has_the_value_worked_out_by_hand():
    # The same two: each KL(M||.) is 1/2 ln 2/3 + 1/2 ln 2, and there are two entries to take the mean of.
    intact, ablated = torch.tensor([3.0, 1.0]).log(), torch.tensor([1.0, 3.0]).log()
    expected = (0.5 * math.log(2 / 3) + 0.5 * math.log(2)) / 2
    assert released_divergence(intact, ablated).item() == pytest.approx(expected, abs=1e-6)
