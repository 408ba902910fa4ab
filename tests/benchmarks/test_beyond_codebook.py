"""A prior takes the place of the scorer's expectation."""

import torch

from wordsight import DivPrune


def test_the_tokens_that_a_prior_is_for_are_kept_before_those_that_are_far_apart(benchmarks, prompt):
    tokens, priors = prompt.visual, benchmarks.beyond_codebook.PriorMMR
    ramp = torch.linspace(0, 1, len(tokens))
    kept = [
        priors(prior=lambda _, scores=scores: scores, weight=0.999, tokens=9).prune(tokens).cell.tolist()
        for scores in (ramp, -ramp)
    ]
    cells = tokens.cell.tolist()
    assert kept == [cells[-9:], cells[:9]]
    assert priors(prior=lambda _: ramp, weight=0, tokens=9).prune(tokens).cell.tolist() == (
        DivPrune(tokens=9).prune(tokens).cell.tolist()
    )
