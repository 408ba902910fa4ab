"""The greedy selectors and the pruners on them, against slow code from the formulas and by hand."""

import math
from dataclasses import replace

import pytest
import torch

from wordsight import UsageError
from wordsight.algorithms.selection import cosine, facility_location, greedy_dpp
from wordsight.pruners.codebook_coverage import CodebookCoverage
from wordsight.pruners.codebook_dpp import CodebookDPP
from wordsight.pruners.codebook_scope import CodebookScope
from wordsight.pruners.scope import Scope
from wordsight.redundancy.codebook import Codebook

COUNTS = (1, 2, 5, 20, 64)


def cosines(embeds):
    rows = embeds.double().tolist()

    def cosine(a, b):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(x * x for x in b))

    return [[cosine(a, b) for b in rows] for a in rows]


def slow_cover(similar, quality, count):
    """One candidate, one token at a time: quality times the sum of what it adds to the best similarity."""
    everyone, chosen, first = range(len(similar)), [], None
    while len(chosen) < count:
        best = [max([0.0, *(similar[i][s] for s in chosen)]) for i in everyone]
        gains = {
            j: quality[j] * sum(max(0.0, similar[i][j] - best[i]) for i in everyone)
            for j in everyone
            if j not in chosen
        }
        first = max(gains.values()) if first is None else first
        chosen.append(next(j for j, gain in gains.items() if gain > max(gains.values()) - 1e-6 * first))
    return sorted(chosen)


def slow_likeliest(kernel, count):
    """The determinant of the kernel of every candidate subset, from scratch."""
    chosen = []
    while len(chosen) < count:
        left = [j for j in range(len(kernel)) if j not in chosen]
        chosen.append(max(left, key=lambda j: float(torch.linalg.det(kernel[[*chosen, j]][:, [*chosen, j]]))))
    return sorted(chosen)


@pytest.fixture
def book():
    prototypes = torch.randn(6, 16, generator=torch.Generator().manual_seed(5))
    return Codebook(prototypes, {"format": 1, "model": "made-up", "fingerprint": None})


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0])
def test_scope_agrees_with_its_slow_loops(tokens, alpha):
    similar = cosines(tokens.signals["features"])
    quality = [value**alpha for value in tokens.signals["cls_attention"].tolist()]
    for count in COUNTS:
        expected = slow_cover(similar, quality, count)
        assert Scope(tokens=count, alpha=alpha).select(tokens).slot.tolist() == expected, count


def test_scope_takes_the_loud_one_of_two_alike_and_then_what_is_not_covered(tokens):
    """Three directions: 0 and 1 alike, 2 and 3 alike, 4 alone."""
    features = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]])
    attention = torch.tensor([0.2, 0.3, 0.5, 0.1, 0.45])
    few = replace(tokens.take(torch.arange(5)), signals={"features": features, "cls_attention": attention})
    # Gains: .2*2, .3*2, .5*2, .1*2, .45*1; then 1 (.6) before 4 (.45).
    assert Scope(tokens=1).select(few).slot.tolist() == [2]
    assert Scope(tokens=2).select(few).slot.tolist() == [1, 2]
    assert Scope(tokens=3).select(few).slot.tolist() == [1, 2, 4]


@pytest.mark.parametrize("factor", [16, 1e-3])
def test_what_is_chosen_does_not_depend_on_the_scale_of_the_quality(tokens, factor):
    similar, quality = cosine(tokens.signals["features"]), tokens.signals["cls_attention"] / 64
    chosen = facility_location(similar, 40, quality)
    assert torch.equal(facility_location(similar, 40, factor * quality), chosen)


def test_a_negative_alpha_is_refused():
    with pytest.raises(UsageError, match="alpha must be a number from 0 on, got -1"):
        Scope(alpha=-1)


def test_codebook_coverage_agrees_with_its_slow_loops(tokens, book):
    quality = (1 - book.redundancy(tokens.embeds)).clamp(min=0).tolist()
    similar = cosines(tokens.embeds)
    for count in COUNTS:
        kept = CodebookCoverage(tokens=count, codebook=book).select(tokens)
        assert kept.slot.tolist() == slow_cover(similar, quality, count), count


def test_codebook_scope_agrees_with_its_slow_loops(tokens, book):
    quality = (1 - book.redundancy(tokens.embeds)).clamp(min=0).tolist()
    similar = cosines(tokens.signals["features"])
    for count in COUNTS:
        kept = CodebookScope(tokens=count, codebook=book).select(tokens)
        assert kept.slot.tolist() == slow_cover(similar, quality, count), count


def test_codebook_dpp_agrees_with_determinants_from_scratch(tokens, book):
    quality = (1 - book.redundancy(tokens.embeds)).clamp(min=0).double()
    kernel = quality[:, None] * torch.tensor(cosines(tokens.embeds)) * quality
    for count in (1, 2, 5, 12):
        kept = CodebookDPP(tokens=count, codebook=book).select(tokens)
        assert kept.slot.tolist() == slow_likeliest(kernel, count), count


def test_a_determinant_that_cannot_grow_leaves_the_first_free_ones():
    kernel = torch.ones(4, 4)  # all alike: rank one
    assert greedy_dpp(kernel, 4).tolist() == [0, 1, 2, 3]


def test_a_loop_stays_on_the_cpu_whatever_the_default_device_is():
    kernel = torch.ones(4, 4)
    with torch.device("meta"):
        assert greedy_dpp(kernel, 4).tolist() == [0, 1, 2, 3]


def test_a_determinant_that_only_rounding_lets_grow_leaves_the_first_free_ones():
    points = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))  # rank eight
    chosen = greedy_dpp(cosine(points), 40).tolist()
    assert chosen[8:] == sorted(set(range(40)) - set(chosen[:8]))


def test_nothing_left_to_cover_leaves_the_first_free_ones():
    assert facility_location(torch.ones(4, 4), 3, torch.ones(4)).tolist() == [0, 1, 2]
