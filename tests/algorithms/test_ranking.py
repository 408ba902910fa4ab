"""What an order tells, against cases worked by hand and slow loops."""

import random

import pytest
import torch

from wordsight.algorithms.ranking import common_halves, correlation, decile_means, halves


def test_rho_by_hand():
    # Ranks 1 2 3 4 5 and 2 1 4 3 5: squared differences add up to 4, and 1 - 6 * 4 / (5 * 24) = 0.8.
    order, said = torch.tensor([0.1, 0.2, 0.4, 0.8, 1.6]), torch.tensor([20.0, 10.0, 40.0, 30.0, 99.0])
    assert correlation(order, said) == pytest.approx(0.8)
    assert correlation(order, -said) == pytest.approx(-0.8)


def test_rho_by_hand_where_values_are_equal():
    # Ranks 1.5 1.5 3 and 1 2 3: 1.5 / sqrt(1.5 * 2).
    assert correlation(torch.tensor([5.0, 5, 7]), torch.tensor([1.0, 2, 3])) == pytest.approx(0.75**0.5)


@pytest.mark.parametrize("seed", range(5))
def test_rho_is_that_of_a_slow_loop(slow_rho, seed):
    draw = random.Random(seed)
    first, second = ([float(draw.randrange(9)) for _ in range(30)] for _ in range(2))
    found = correlation(torch.tensor(first), torch.tensor(second))
    assert found == pytest.approx(slow_rho(first, second), abs=1e-6)


@pytest.mark.parametrize("values", [[2.0, 2.0, 2.0], [1.0], []])
def test_what_orders_nothing_has_neither_rho_nor_halves(values):
    constant, other = torch.tensor(values), torch.arange(len(values)).float()
    assert correlation(constant, other) is None
    assert correlation(other, constant) is None
    assert halves(constant) is None


def test_halves_by_hand():
    low, high = halves(torch.tensor([0.3, 0.9, 0.1, 0.7, 0.2]))
    assert (low.tolist(), high.tolist()) == ([2, 4], [1, 3])  # the middle one is in neither


def test_equal_values_are_split_in_reading_order():
    low, high = halves(torch.tensor([1.0, 0, 0, 0, 0, 0]))
    assert (low.tolist(), high.tolist()) == ([1, 2, 3], [0, 4, 5])


def test_common_halves_by_hand():
    # Lowest halves: 0 1 2, 0 1 4 and 0 1 5. Mean places of 2, 3, 4, 5: 11/3, 12/3, 9/3, 10/3.
    orders = [[0.0, 1, 2, 3, 4, 5], [0.0, 1, 4, 5, 2, 3], [0.0, 1, 4.5, 4, 3, 2]]
    low, high = common_halves([torch.tensor(order) for order in orders])
    assert (low.tolist(), high.tolist()) == ([0, 1], [2, 3])


def test_a_low_token_is_never_among_the_high_ones():
    # 3 has place 4 in all orders, which is low in all; the mean place of 0, 1 and 2 is 11/3, below it.
    rest = [4.0, 1, 2, 3, 7, 8, 9]
    orders = [torch.tensor([*first, *rest]) for first in ((0.0, 5, 6), (6.0, 0, 5), (5.0, 6, 0))]
    low, high = common_halves(orders)
    assert low.tolist() == [3, 4, 5, 6]
    assert high.tolist()[0] in (0, 1, 2)
    assert high.tolist()[1:] == [7, 8, 9]


@pytest.mark.parametrize("second", [[3.0, 2, 1, 0], [1.0, 1, 1, 1]])
def test_orders_without_a_common_low_token_have_no_common_halves(second):
    assert common_halves([torch.arange(4.0), torch.tensor(second)]) is None


def test_tenths_by_hand():
    order = torch.arange(20).flip(0).float()
    said = torch.arange(20).float()
    assert decile_means(order, said) == [18.5, 16.5, 14.5, 12.5, 10.5, 8.5, 6.5, 4.5, 2.5, 0.5]


def test_a_tenth_without_tokens_is_none_and_equal_values_are_together():
    found = decile_means(torch.tensor([0.0, 5, 5, 9]), torch.tensor([1.0, 2, 4, 8]))
    assert [tenth for tenth in found if tenth is not None] == [1, 3, 8]
    assert (found[0], found[5], found[9]) == (1, 3, 8)
