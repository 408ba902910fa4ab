"""What every pruner keeps, against slow code or a case worked by hand."""

import math
from dataclasses import dataclass, replace

import pytest
import torch

from wordsight.errors import UsageError
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import ScorePruner
from wordsight.pruners.cls_similarity import ClsSimilarity
from wordsight.pruners.cls_topk import ClsTopK
from wordsight.pruners.codebook import CodebookPruner
from wordsight.pruners.codebook_mmr import CodebookMMR
from wordsight.pruners.divprune import DivPrune
from wordsight.pruners.evs import EVS
from wordsight.pruners.learned_mmr import LearnedMMR
from wordsight.pruners.random import Random
from wordsight.pruners.uniform import Uniform
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.scorer import Scorer


@pytest.fixture
def book():
    prototypes = torch.randn(6, 16, generator=torch.Generator().manual_seed(5))
    return Codebook(prototypes, {"format": 1, "model": "made-up", "fingerprint": None})


@pytest.fixture
def scorer():
    generator = torch.Generator().manual_seed(6)
    layers = {
        "first": torch.randn(4, 17, generator=generator),
        "second": torch.randn(1, 5, generator=generator),
    }
    return Scorer(layers, {"model": "made-up", "fingerprint": "f00d"})


def row_of(embeds, crops=None):
    """Visual tokens with these embeddings, in one row of every crop."""
    count = len(embeds)
    crop = torch.zeros(count, dtype=torch.long) if crops is None else crops
    place = torch.arange(count)
    return VisualTokens(embeds, slot=place, cell=torch.stack([place * 0, crop, place * 0, place], 1))


# Uniform: the places are counted by hand, rows of eight.
@pytest.mark.parametrize(
    ("count", "slots"),
    [
        (4, [18, 22, 50, 54]),
        (16, [row * 8 + column for row in (1, 3, 5, 7) for column in (1, 3, 5, 7)]),
        (1, [36]),
        (2, [34, 38]),
    ],
)
def test_uniform_keeps_an_even_grid(tokens, count, slots):
    assert Uniform(tokens=count).select(tokens).slot.tolist() == slots


def test_uniform_gives_every_image_its_share():
    crops = torch.tensor([0] * 4 + [1] * 60)
    kept = Uniform(keep=0.25).select(row_of(torch.ones(64, 16), crops))
    assert kept.cell[:, 1].bincount().tolist() == [1, 15]


def test_uniform_leaves_no_quarter_of_the_picture_out(tokens):
    for count in range(4, 65, 3):
        cell = Uniform(tokens=count).select(tokens).cell
        quarter = cell[:, 2] // 4 * 2 + cell[:, 3] // 4
        counts = quarter.bincount(minlength=4)
        assert counts.min() >= 1, count
        assert counts.max() - counts.min() <= 0.15 * count + 2, count


def slow_divprune(embeds, count):
    """Greedy max-min selection, one pair at a time."""
    rows = embeds.double().tolist()

    def distance(a, b):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return 1 - dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(x * x for x in b))

    apart = [[distance(a, b) for b in rows] for a in rows]
    everyone = range(len(rows))
    chosen = [max(everyone, key=lambda i: min(apart[i][j] for j in everyone if j != i))]
    while len(chosen) < count:
        left = [i for i in everyone if i not in chosen]
        chosen.append(max(left, key=lambda i: min(apart[i][j] for j in chosen)))
    return sorted(chosen)


def test_divprune_agrees_with_the_slow_greedy_loops(tokens):
    for count in (1, 2, 5, 20, 64):
        expected = slow_divprune(tokens.embeds, count)
        assert DivPrune(tokens=count).select(tokens).slot.tolist() == expected, count


def on_a_circle(*degrees):
    """Two-dimensional tokens at these angles, of different lengths."""
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float32))
    length = 1 + torch.arange(len(degrees))[:, None]
    return row_of(torch.stack([angle.cos(), angle.sin()], 1) * length)


def test_divprune_starts_at_the_loneliest_and_goes_to_the_farthest():
    # 100 is 60 from its nearest; then 350 (110 away), then 0 (10 and 100 away) loses to 40 (50 and 60).
    assert DivPrune(tokens=3).select(on_a_circle(0, 350, 40, 20, 100)).slot.tolist() == [1, 2, 4]


def test_divprune_drops_duplicates_first(tokens):
    doubled = replace(tokens, embeds=tokens.embeds[torch.arange(64) % 8])
    kept = DivPrune(tokens=8).select(doubled)
    assert sorted(slot % 8 for slot in kept.slot.tolist()) == list(range(8))


def highest(values, count):
    """The places of the highest values, the first among equals."""
    return sorted(sorted(range(len(values)), key=lambda i: (-values[i], i))[:count])


def test_cls_topk_keeps_what_cls_attends_to(tokens):
    attention = tokens.signals["cls_attention"].tolist()
    for count in (1, 6, 40):
        assert ClsTopK(tokens=count).select(tokens).slot.tolist() == highest(attention, count), count


@pytest.mark.parametrize(("prefer", "sign"), [("high", 1), ("low", -1)])
def test_cls_similarity_keeps_the_end_that_is_preferred(tokens, prefer, sign):
    similarity = (sign * tokens.signals["cls_similarity"]).tolist()
    assert ClsSimilarity(tokens=6, prefer=prefer).select(tokens).slot.tolist() == highest(similarity, 6)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (torch.zeros(5), r"Scored\.score gave a tensor of shape \(5,\) for \d+ tokens; expected one score"),
        (None, r"Scored\.score gave NaN for \d+ of \d+ tokens"),
    ],
)
def test_scores_that_order_nothing_are_refused(tokens, scores, message):
    @dataclass(kw_only=True)
    class Scored(ScorePruner):
        def score(self, tokens):
            return torch.full((len(tokens),), float("nan")) if scores is None else scores

    with pytest.raises(UsageError, match=message):
        Scored(keep=0.2).select(tokens)


def test_equal_scores_are_kept_in_reading_order(tokens):
    flat = replace(tokens, signals={"cls_attention": torch.ones(64)})
    assert ClsTopK(tokens=5).select(flat).slot.tolist() == [0, 1, 2, 3, 4]


def test_an_unknown_preference_is_refused():
    with pytest.raises(UsageError, match="prefer must be 'high' or 'low', got 'middle'"):
        ClsSimilarity(prefer="middle")


def test_random_seeds_draw_differently(tokens):
    draws = {tuple(Random(tokens=16, seed=seed).select(tokens).slot.tolist()) for seed in range(20)}
    assert len(draws) == 20


def test_random_draws_differently_for_another_picture(tokens):
    other = replace(tokens, embeds=tokens.embeds.flip(1) * 1.1)
    assert Random(tokens=16).select(tokens).slot.tolist() != Random(tokens=16).select(other).slot.tolist()


def test_random_keeps_every_token_equally_often(tokens):
    drawn = torch.cat([Random(tokens=16, seed=seed).select(tokens).slot for seed in range(400)])
    counts = drawn.bincount(minlength=64)  # 100 each on average, standard deviation 8.7
    assert 60 < counts.min() < 100 < counts.max() < 140


def test_random_does_not_touch_the_global_generator(tokens):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    Random(tokens=16).select(tokens)
    assert torch.equal(torch.rand(1), expected)


def axes(*cosines):
    """Tokens with these cosines to the first and the second axis, of different lengths."""
    embeds = torch.zeros(len(cosines), 16)
    for i, (first, second) in enumerate(cosines):
        embeds[i, :3] = torch.tensor([first, second, math.sqrt(1 - first**2 - second**2)]) * (i + 1)
    return row_of(embeds)


AXES = Codebook(torch.eye(16)[:2] * 5, {"format": 1, "model": "axes", "fingerprint": None})
COSINES = [(0.9, 0.1), (0.2, 0.3), (-0.9, 0.0), (0.45, 0.8), (0.5, 0.44), (0.1, -0.2), (0.0, 0.6)]
# The highest of both:  .9, .3, 0, .8, .5, .1, .6


@pytest.mark.parametrize(
    ("threshold", "slots"),
    [(0.55, [1, 2, 4, 5]), (0.85, [1, 2, 3, 4, 5, 6]), (0.05, [2]), (1, [0, 1, 2, 3, 4, 5, 6])],
)
def test_a_threshold_keeps_every_token_whose_cosine_is_below_it(threshold, slots):
    pruner = CodebookPruner(codebook=AXES, threshold=threshold)
    assert pruner.select(axes(*COSINES)).slot.tolist() == slots


def test_a_threshold_below_every_cosine_leaves_the_least_redundant_token():
    assert CodebookPruner(codebook=AXES, threshold=-0.5).prune(axes(*COSINES)).slot.tolist() == [2]


def test_a_line_break_below_the_threshold_does_not_hide_that_nothing_else_is():
    tokens = axes(*COSINES[:2], (0.0, 0.0))
    broken = replace(tokens, cell=torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, -1]]))
    pruner = CodebookPruner(codebook=AXES, threshold=0.1)
    assert (pruner.drops_all(broken), pruner.drops_all(tokens)) == (True, False)
    assert pruner.prune(broken).slot.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("budget", "slots"),
    [({"tokens": 1}, [2]), ({"tokens": 3}, [1, 2, 5]), ({"keep": 0.7}, [1, 2, 4, 5, 6])],
)
def test_codebook_keeps_the_least_redundant_tokens(budget, slots):
    assert CodebookPruner(codebook=AXES, **budget).select(axes(*COSINES)).slot.tolist() == slots


def softmax(values):
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def slow_redundancy(cosines, rule):
    """The rules of the paper, one cosine at a time."""
    if rule == "cosine":
        return [max(row) for row in cosines]
    over_prototypes = [softmax(row) for row in cosines]
    if rule == "single_softmax":
        return [max(row) for row in over_prototypes]
    over_tokens = list(zip(*[softmax(column) for column in zip(*cosines, strict=True)], strict=True))
    return [
        max(a * b for a, b in zip(*rows, strict=True))
        for rows in zip(over_prototypes, over_tokens, strict=True)
    ]


@pytest.mark.parametrize("rule", ["cosine", "single_softmax", "double_softmax"])
def test_every_rule_agrees_with_its_slow_loops(tokens, book, rule):
    cosines = [[float(torch.cosine_similarity(a, b, dim=0)) for b in book.prototypes] for a in tokens.embeds]
    redundancy = slow_redundancy(cosines, rule)
    for count in (1, 8, 30):
        kept = CodebookPruner(codebook=book, tokens=count, rule=rule).select(tokens)
        assert kept.slot.tolist() == highest([-value for value in redundancy], count), count


def test_the_rules_choose_different_tokens(tokens, book):
    rules = ("cosine", "single_softmax", "double_softmax")
    made = [CodebookPruner(codebook=book, tokens=8, rule=rule) for rule in rules]
    assert len({tuple(pruner.select(tokens).slot.tolist()) for pruner in made}) == 3


def test_an_unknown_rule_is_refused():
    with pytest.raises(
        UsageError, match="rule must be 'cosine' or 'single_softmax' or 'double_softmax', got 'triple'"
    ):
        CodebookPruner(codebook=AXES, rule="triple")


def test_a_threshold_goes_with_the_cosine_only():
    with pytest.raises(UsageError, match="goes with rule=cosine, not double_softmax"):
        CodebookPruner(codebook=AXES, threshold=0.4, rule="double_softmax")


def test_a_book_of_another_width_is_refused_before_anything_runs(tiny):
    with pytest.raises(UsageError, match="D=16"):
        CodebookPruner(codebook=AXES).check(tiny)


def test_diversity_alone_is_divprune(tokens, book, scorer):
    for budget in ({"tokens": 1}, {"tokens": 3}, {"keep": 0.2}, {"keep": 0.9}):
        alone = DivPrune(**budget).select(tokens).slot
        for mixed in (CodebookMMR(codebook=book, weight=0.0), LearnedMMR(scorer=scorer, weight=0.0)):
            assert torch.equal(replace(mixed, **budget).select(tokens).slot, alone), (mixed, budget)


@pytest.mark.parametrize("weight", [0.2, 0.5, 0.9])
def test_codebook_and_diversity_is_greedy_by_their_weighted_sum(tokens, book, weight):
    pruner = CodebookMMR(tokens=9, codebook=book, weight=weight)
    relevance = (1 - pruner.book.redundancy(tokens.embeds).double()).tolist()
    assert pruner.select(tokens).slot.tolist() == slow_mmr(tokens.embeds, 9, relevance, weight)


def test_codebook_and_diversity_have_the_weight_that_was_chosen_for_the_book(tokens, book):
    calibrated = {"beside_diversity": {"weight": 0.1}}
    chosen = replace(book, config={**book.config, "calibrated": calibrated})
    before = replace(chosen, config={**book.config, "calibrated": {}})  # of an earlier release
    for of, weight in ((chosen, 0.1), (book, 0.5), (before, 0.5)):
        by_default = CodebookMMR(tokens=9, codebook=of)
        given = CodebookMMR(tokens=9, codebook=of, weight=weight)
        assert torch.equal(by_default.select(tokens).slot, given.select(tokens).slot)
        assert by_default.digest != given.digest == of.digest  # a result that is kept is of this weight


@pytest.mark.parametrize("weight", [0.2, 0.5, 0.9])
def test_learned_and_diversity_is_greedy_by_the_weighted_sum_with_what_is_expected(tokens, scorer, weight):
    expected = scorer.predict(tokens.embeds).tolist()
    low, high = min(expected), max(expected)
    relevance = [(each - low) / (high - low) for each in expected]
    kept = LearnedMMR(tokens=9, scorer=scorer, weight=weight).select(tokens)
    assert kept.slot.tolist() == slow_mmr(tokens.embeds, 9, relevance, weight)


def slow_mmr(embeds, count, relevance, weight):
    """Maximal marginal relevance, one token at a time."""
    unit = torch.nn.functional.normalize(embeds.double(), dim=-1)
    apart = (1 - unit @ unit.T).tolist()
    chosen = []
    for _ in range(count):
        worth = {}
        for i in range(len(embeds)):
            others = chosen or [j for j in range(len(embeds)) if j != i]
            if i not in chosen:
                worth[i] = (1 - weight) * min(apart[i][j] for j in others) + weight * relevance[i]
        chosen.append(max(worth, key=worth.get))
    return sorted(chosen)


@pytest.mark.parametrize("weight", [-0.1, 1.0, 2])
def test_a_weight_outside_its_range_is_refused(book, scorer, weight):
    for pruner in (CodebookMMR(codebook=book), LearnedMMR(scorer=scorer)):
        with pytest.raises(UsageError, match=r"weight must be a number in \[0, 1\)( or none)?, got"):
            replace(pruner, weight=weight)


def film(frames):
    """Two-dimensional tokens of frames of two cells each, at these angles in degrees."""
    flat = on_a_circle(*(angle for frame in frames for angle in frame))
    cells = [[frame, 0, 0, column] for frame in range(len(frames)) for column in (0, 1)]
    return replace(flat, cell=torch.tensor(cells))


@pytest.mark.parametrize(
    ("count", "slots"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 5]), (4, [0, 1, 2, 5]), (6, [0, 1, 2, 3, 4, 5])]
)
def test_evs_keeps_the_first_frame_and_what_changed_most(count, slots):
    # The first cell turns by 40 and 0 degrees, the second by 10 and 90.
    tokens = film([(0, 0), (40, 10), (40, 100)])
    assert EVS(tokens=count).select(tokens).slot.tolist() == slots


def test_evs_of_a_picture_keeps_its_first_tokens(tokens):
    assert EVS(tokens=5).select(tokens).slot.tolist() == [0, 1, 2, 3, 4]
