"""Tokens that cost nothing: on sums that can be counted, and that answers truly stay."""

from dataclasses import replace

import pytest
import torch

from wordsight import VLM


@pytest.mark.parametrize("seed", range(4))
def test_one_of_every_group_is_needed_and_no_more(benchmarks, seed):
    """An answer for each of five groups of places, the same as long as one place of it is left."""
    groups = torch.randint(5, (100,), generator=torch.Generator().manual_seed(seed))

    def says(kept):
        return [str(bool((kept & (groups == number)).any())) for number in range(5)]

    order = torch.randperm(100, generator=torch.Generator().manual_seed(seed + 10))
    free = benchmarks.oracle.without_change(says, order)
    assert sorted(groups[~free].tolist()) == [0, 1, 2, 3, 4]


def test_all_is_free_where_nothing_changes_and_nothing_where_everything_does(benchmarks):
    order = torch.arange(40)
    assert benchmarks.oracle.without_change(lambda kept: ["same"], order).all()
    assert not benchmarks.oracle.without_change(lambda kept: [str(kept.tolist())], order).any()


def test_answers_stay_without_the_tokens_that_are_free(benchmarks, tiny: VLM, picture):
    whole = [tiny.encode(picture, question) for question in ("what is this?", "is there a cat?")]
    prompts = [replace(prompt, visual=prompt.visual.take(torch.arange(24))) for prompt in whole]
    order = torch.randperm(len(prompts[0].visual), generator=torch.Generator().manual_seed(0))
    free = benchmarks.oracle.free_tokens(tiny, prompts, order, 3)
    kept = (~free).nonzero()[:, 0]
    pruned = [replace(prompt, visual=prompt.visual.take(kept)) for prompt in prompts]
    assert tiny.answers(pruned, 3) == tiny.answers(prompts, 3)
    assert free.any()
