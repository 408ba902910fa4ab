"""What dropping tokens changes, against the model itself and a divergence written out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from wordsight.analysis import dropping
from wordsight.analysis.dropping import Effect, effects, random_tokens, without
from wordsight.models.tokens import VisualTokens

LENGTH = 3  # of an answer


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """A model of random weights never ends an answer by itself."""
    monkeypatch.setattr(dropping, "LENGTH", LENGTH)


def slow_divergence(intact, ablated):
    """Jensen-Shannon over the ten likeliest words of the first, term by term."""
    best = np.argsort(-intact)[:10]
    p, q = (np.exp(one[best]) / np.exp(one[best]).sum() for one in (intact, ablated))
    total = 0.0
    for a, b in zip(p, q, strict=True):
        middle = (a + b) / 2
        total += a * np.log(a / middle) / 2 + b * np.log(b / middle) / 2
    return total


def test_an_effect_is_that_of_reading_only_the_other_tokens(tiny, prompt):
    sets = [torch.arange(0, 144, 2), torch.arange(100), torch.tensor([7])]
    whole = tiny.logits([prompt])[0].double().numpy()
    answer = tiny.generate([prompt], max_new_tokens=LENGTH)[0]
    for dropped, found in zip(sets, effects(tiny, prompt, sets), strict=True):
        left = torch.tensor([i for i in range(144) if i not in dropped.tolist()])
        pruned = replace(prompt, visual=prompt.visual.take(left))
        other = tiny.logits([pruned])[0].double().numpy()
        assert found.divergence == pytest.approx(slow_divergence(whole, other), rel=1e-3, abs=1e-8)
        assert found.changed == (tiny.generate([pruned], max_new_tokens=LENGTH)[0] != answer)


def test_what_is_dropped_is_masked_and_the_others_stay_where_they_were(tiny, prompt):
    dropped = torch.arange(10, 90)
    masked = prompt.inputs()
    places = prompt.is_visual.nonzero()[:, 0][dropped]
    masked["attention_mask"][0, places] = 0
    with torch.no_grad():
        expected = tiny.model(**masked, use_cache=True, logits_to_keep=1).logits[:, -1].float()
    torch.testing.assert_close(tiny.logits([without(prompt, dropped)]), expected, atol=1e-4, rtol=1e-4)


def test_a_line_break_goes_with_the_last_token_of_its_row(prompt):
    # Two rows of two tokens, a break after each: reading order 0 1 | 3 4 |.
    cell = torch.tensor([[0, 0, y, x] for y in (0, 1) for x in (0, 1, -1)])
    visual = VisualTokens(torch.eye(6), torch.arange(6), cell)
    shown = replace(prompt, visual=visual)
    assert without(shown, torch.tensor([0])).visual.slot.tolist() == [1, 2, 3, 4, 5]
    assert without(shown, torch.tensor([2, 3])).visual.slot.tolist() == [0, 1, 2]
    assert all(max(tokens) < 4 for tokens in random_tokens(shown, 2))


def test_random_tokens_are_as_many_all_different_and_the_same_every_time(prompt):
    draws = random_tokens(prompt, 50)
    assert [len(set(draw.tolist())) for draw in draws] == [50, 50, 50]
    assert len({tuple(sorted(draw.tolist())) for draw in draws}) == 3
    assert all(map(torch.equal, draws, random_tokens(prompt, 50)))


def test_the_mean_of_effects():
    assert Effect.mean([Effect(0.1, 1), Effect(0.3, 0)]) == Effect(0.2, 0.5)
