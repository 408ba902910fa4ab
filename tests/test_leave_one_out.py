"""Divergences against their slow definitions, windows by hand, the experiments one token at a time."""

import math
from dataclasses import replace

import pytest
import torch

from wordsight.leave_one_out import (
    Logits,
    globally,
    jensen_shannon,
    regional,
    released_divergence,
    windows,
)

QUESTION = "what is the background?"
CORNERS_BORDERS_AND_INNER = [0, 11, 132, 143, 5, 59, 60, 138, 13, 77, 130]


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
def test_a_divergence_looks_at_the_top_entries_only(fast, slow, top):
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


def test_the_divergence_of_logits_compares_the_intact_with_the_ablated():
    intact, ablated = torch.randn(4, 256), torch.randn(4, 256)
    moved = Logits(intact, ablated).divergence(released_divergence)
    assert torch.equal(moved, released_divergence(intact, ablated))


def grid(height, width, image=0, crop=0):
    return torch.tensor([[image, crop, row, column] for row in range(height) for column in range(width)])


TOP_LEFT, TOP_RIGHT = [0, 1, 2, 4, 5, 6, 8, 9, 10], [1, 2, 3, 5, 6, 7, 9, 10, 11]
BOTTOM_LEFT, BOTTOM_RIGHT = [4, 5, 6, 8, 9, 10, 12, 13, 14], [5, 6, 7, 9, 10, 11, 13, 14, 15]
FOUR_BY_FOUR = {
    "top left": ([0, 1, 4, 5], TOP_LEFT),
    "top right": ([2, 3, 6, 7], TOP_RIGHT),
    "bottom left": ([8, 9, 12, 13], BOTTOM_LEFT),
    "bottom right": ([10, 11, 14, 15], BOTTOM_RIGHT),
}


@pytest.mark.parametrize(("middles", "window"), FOUR_BY_FOUR.values(), ids=FOUR_BY_FOUR)
def test_windows_of_four_by_four_shift_inward_at_the_border(middles, window):
    assert windows(grid(4, 4))[middles].tolist() == [window] * 4


def test_an_inner_window_has_its_token_in_the_middle():
    assert windows(grid(12, 12))[77].tolist() == [64, 65, 66, 76, 77, 78, 88, 89, 90]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (2, 3), (3, 2)])
def test_windows_of_a_grid_up_to_three_by_three_are_all_of_it(height, width):
    count = height * width
    assert windows(grid(height, width)).tolist() == [[*range(count)] + [-1] * (9 - count)] * count


def test_windows_of_two_rows_are_two_rows_high():
    # Column 3 of 5, in either row: columns 2, 3, 4.
    assert windows(grid(2, 5))[[3, 8]].tolist() == [[2, 3, 4, 7, 8, 9, -1, -1, -1]] * 2


@pytest.mark.parametrize("other", [{"image": 1}, {"crop": 1}], ids=["images", "crops"])
def test_windows_stay_in_their_own_picture(other):
    found = windows(torch.cat([grid(4, 4), grid(5, 3, **other)]))
    assert found[16:].tolist() == (windows(grid(5, 3)) + 16).tolist()


def test_windows_of_the_first_picture_do_not_see_the_second():
    found = windows(torch.cat([grid(4, 4), grid(5, 3, image=1)]))
    assert found[:16].tolist() == windows(grid(4, 4)).tolist()


def rows_with_line_breaks():
    """A 3x3 grid with a line break after each row, as LLaVA-NeXT has them: breaks at 3, 7 and 11."""
    end = torch.tensor([[0, 0, -1, -1]])
    return torch.cat([part for row in grid(3, 3).split(3) for part in (row, end)])


def test_a_line_break_stands_alone():
    found = windows(rows_with_line_breaks())
    assert found[[3, 7, 11]].tolist() == [[i] + [-1] * 8 for i in (3, 7, 11)]


def test_line_breaks_are_in_no_window_of_another_token():
    assert windows(rows_with_line_breaks())[5].tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]


def test_windows_of_a_pruned_grid_hold_what_is_left_of_the_neighbourhood():
    left = grid(4, 4)[[0, 2, 5, 15]]
    assert windows(left).tolist() == [
        [0, 1, 2] + [-1] * 6,
        [1, 2] + [-1] * 7,
        [0, 1, 2] + [-1] * 6,
        [2, 3] + [-1] * 7,
    ]


def neighbourhood(token):
    """The nine tokens around one of a 12x12 grid, found by trying every one."""
    row, column = min(max(token // 12, 1), 10), min(max(token % 12, 1), 10)
    return [i for i in range(144) if abs(i // 12 - row) <= 1 and abs(i % 12 - column) <= 1]


@torch.no_grad()
def first_word(vlm, embeds):
    """The logits of a prompt with these visual tokens, written into the embeddings by hand."""
    text = "user: " + "<image> " * len(embeds) + QUESTION + " assistant:"
    ids = torch.tensor(vlm.processor.tokenizer(text)["input_ids"])
    spelled = vlm.model.get_input_embeddings()(ids)
    spelled[ids == 4] = embeds
    return vlm.model(
        inputs_embeds=spelled[None],
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        position_ids=torch.arange(len(ids))[None],
    ).logits[0, -1]


def padded(vlm, embeds, places):
    """The tokens with some replaced by the padding embedding."""
    changed = embeds.clone()
    for place in places:
        changed[place] = vlm.model.get_input_embeddings().weight[0].detach()
    return changed


@pytest.fixture(scope="module")
def regions(tiny, prompt):
    return regional(tiny, prompt)


@pytest.fixture(scope="module")
def whole(tiny, prompt):
    return globally(tiny, prompt)


some_tokens = pytest.mark.parametrize("token", CORNERS_BORDERS_AND_INNER)


@some_tokens
def test_the_intact_region_is_the_neighbourhood_alone(tiny, prompt, regions, token):
    slow = first_word(tiny, prompt.visual.embeds[neighbourhood(token)])
    torch.testing.assert_close(regions.intact[token], slow, rtol=1e-5, atol=1e-5)


@some_tokens
def test_the_ablated_region_has_padding_for_the_token(tiny, prompt, regions, token):
    around = neighbourhood(token)
    embeds = padded(tiny, prompt.visual.embeds[around], [around.index(token)])
    torch.testing.assert_close(regions.ablated[token], first_word(tiny, embeds), rtol=1e-5, atol=1e-5)


def test_the_intact_image_is_the_same_for_every_token(tiny, prompt, whole):
    slow = first_word(tiny, prompt.visual.embeds).expand(144, -1)
    torch.testing.assert_close(whole.intact, slow, rtol=1e-5, atol=1e-5)


@some_tokens
def test_the_ablated_image_has_padding_for_the_neighbourhood(tiny, prompt, whole, token):
    slow = first_word(tiny, padded(tiny, prompt.visual.embeds, neighbourhood(token)))
    torch.testing.assert_close(whole.ablated[token], slow, rtol=1e-5, atol=1e-5)


def test_every_token_is_examined(regions, whole):
    assert {len(part) for logits in (regions, whole) for part in (logits.intact, logits.ablated)} == {144}


def test_leaving_tokens_out_does_not_change_the_prompt(tiny, prompt, regions, whole, picture):
    fresh = tiny.encode(picture, QUESTION)
    assert torch.equal(prompt.visual.embeds, fresh.visual.embeds)


def test_the_regions_of_a_second_image_are_those_of_the_same_image_alone(tiny, prompt, picture, regions):
    both = tiny.encode([picture, picture], QUESTION)
    second = replace(both, visual=both.visual.take(torch.arange(144, 288)))
    torch.testing.assert_close(regional(tiny, second).ablated, regions.ablated, rtol=1e-5, atol=1e-5)
