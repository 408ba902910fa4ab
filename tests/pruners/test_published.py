"""Published methods that choose tokens, against slow loops written from their rules."""

import math
from dataclasses import replace

import pytest
import torch

from wordsight.algorithms.selection import split_budget
from wordsight.errors import UsageError
from wordsight.pruners.cdpruner import CDPruner
from wordsight.pruners.cenprune import CenPrune
from wordsight.pruners.embedlens import EmbedLens
from wordsight.pruners.hired import HiRED
from wordsight.pruners.mmtok import MMTok
from wordsight.pruners.prunesid import PruneSID
from wordsight.pruners.tops import TOPS
from wordsight.pruners.vidcom2 import VidCom2
from wordsight.pruners.vispruner import VisPruner

COUNTS = (1, 2, 5, 13, 40, 63)


def cosine(a, b):
    return float(a.double() @ b.double() / a.double().norm() / b.double().norm())


def cosines(rows):
    return [[cosine(a, b) for b in rows] for a in rows]


def falling(items, value):
    return sorted(items, key=lambda i: -float(value[i]))


def between(values):
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 1.0 for value in values]


def check(pruner, tokens, expected):
    assert pruner.select(tokens).slot.tolist() == sorted(expected), pruner


def slow_vispruner(tokens, count, important):
    best = falling(range(64), tokens.signals["cls_attention"])
    alike = cosines(tokens.signals["features"])
    first = int(count * important)
    kept, rest = best[:first], best[first:]
    while len(rest) > count - first:
        ours, others = rest[::2], rest[1::2]
        if not others:
            rest = rest[: count - first]
            break
        worst = falling(ours, {i: max(alike[i][j] for j in others) for i in ours})
        rest = worst[min(8, len(rest) - (count - first), len(ours)) :] + others
    return kept + rest


@pytest.mark.parametrize("important", [0.0, 0.5, 1.0])
def test_vispruner_agrees_with_its_rule(tokens, important):
    for count in COUNTS:
        expected = slow_vispruner(tokens, count, important)
        check(VisPruner(tokens=count, important=important), tokens, expected)


def test_cdpruner_agrees_with_determinants_from_scratch(tokens):
    relevance = torch.tensor(between(tokens.signals["question"].double().mean(1).tolist())).double()
    kernel = relevance[:, None] * torch.tensor(cosines(tokens.embeds)).double() * relevance
    chosen = []
    while len(chosen) < 13:  # 16 wide: beyond that all determinants vanish
        left = [j for j in range(64) if j not in chosen]
        worth = {j: float(torch.linalg.det(kernel[[*chosen, j]][:, [*chosen, j]])) for j in left}
        chosen.append(max(left, key=worth.get))
    for count in COUNTS:
        assert set(chosen[:count]) <= set(CDPruner(tokens=count).select(tokens).slot.tolist()), count


def slow_cenprune(tokens, count):
    raw, centered = cosines(tokens.embeds), cosines(tokens.embeds - tokens.embeds.mean(0))
    distinct = between([-sum(row[j] for j in range(64) if j != i) / 63 for i, row in enumerate(raw)])
    chosen = []
    while len(chosen) < count:
        left = [i for i in range(64) if i not in chosen]
        others = {i: chosen or [j for j in range(64) if j != i] for i in left}
        worth = {i: distinct[i] * min(1 - centered[i][j] for j in others[i]) for i in left}
        chosen.append(max(left, key=worth.get))
    return chosen


def test_cenprune_agrees_with_its_rule(tokens):
    for count in COUNTS:
        check(CenPrune(tokens=count), tokens, slow_cenprune(tokens, count))


def slow_tops(tokens, count, coverage, diversity):
    alike = cosines(tokens.signals["features"])
    relevance = between(tokens.signals["cls_attention"].tolist())
    chosen = [relevance.index(max(relevance))]
    while len(chosen) < count:
        left = [i for i in range(64) if i not in chosen]
        best = {i: max(alike[i][s] for s in chosen) for i in left}
        gain = between([sum(max(0.0, alike[i][j] - best[j]) for j in left) for i in left])
        worth = [
            relevance[i] + coverage * g + diversity * (1 - best[i]) for i, g in zip(left, gain, strict=True)
        ]
        chosen.append(left[worth.index(max(worth))])
    return chosen


@pytest.mark.parametrize(("coverage", "diversity"), [(0.5, 0.5), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_tops_agrees_with_its_rule(tokens, coverage, diversity):
    for count in COUNTS:
        expected = slow_tops(tokens, count, coverage, diversity)
        check(TOPS(tokens=count, coverage=coverage, diversity=diversity), tokens, expected)


def slow_mmtok(tokens, count, alpha):
    def covers(row, temperature):
        raised = [math.exp(value / temperature) for value in row]
        return [value / sum(raised) for value in raised]

    words = [covers(row, 0.02) for row in tokens.signals["question"].T.tolist()]
    others = [covers(row, 0.2) for row in cosines(tokens.signals["features"])]
    things = [[v / 5 for v in row] for row in words] + [[alpha * v / 64 for v in row] for row in others]
    best, chosen = [0.0] * len(things), []
    while len(chosen) < count:
        gain = {
            j: sum(max(0.0, row[j] - b) for row, b in zip(things, best, strict=True))
            for j in range(64)
            if j not in chosen
        }
        chosen.append(max(gain, key=gain.get) if max(gain.values()) > 1e-7 else min(gain))
        best = [max(b, row[chosen[-1]]) for row, b in zip(things, best, strict=True)]
    return chosen


@pytest.mark.parametrize("alpha", [0.5, 3.0])
def test_mmtok_agrees_with_its_rule(tokens, alpha):
    for count in COUNTS:
        check(MMTok(tokens=count, alpha=alpha), tokens, slow_mmtok(tokens, count, alpha))


def test_mmtok_without_the_picture_agrees_with_its_rule_for_as_many_tokens_as_there_are_words(tokens):
    """After the five words nothing is gained: which tokens follow is rounding."""
    for count in COUNTS:
        chosen = slow_mmtok(tokens, count, 0.0)
        kept = MMTok(tokens=count, alpha=0.0).select(tokens).slot.tolist()
        assert set(chosen[:5]) & set(kept) == set(chosen[: min(count, 5)]), count


def test_embedlens_drops_what_shares_its_word_and_then_what_is_far_from_it(tokens):
    words, near = torch.tensor([4, 4, 4, 9, 9, 7]), torch.tensor([0.9, 0.8, 0.7, 0.2, 0.1, -0.9])
    few = replace(tokens.take(torch.arange(6)), signals={"nearest_word": words, "word_similarity": near})
    order = [EmbedLens(tokens=count).select(few).slot.tolist() for count in range(1, 6)]
    assert order == [[5], [3, 5], [3, 4, 5], [0, 3, 4, 5], [0, 1, 3, 4, 5]]


def slow_prunesid(tokens, count):
    """With [CLS], as the authors have it, `count` + 1 tokens are kept."""
    features, attention = tokens.signals["features"], tokens.signals["cls_attention"]
    squashed = features.sigmoid().T.double()
    # The principal components of the channels are the eigenvectors of the tokens' covariance.
    values, vectors = torch.linalg.eigh((squashed - squashed.mean(0)).T @ (squashed - squashed.mean(0)))
    groups = min(max(1, (count + 1) // 4), int((values > 1e-10).sum()))
    member = vectors.flip(1)[:, :groups].abs().argmax(1).tolist()
    alike = cosines(features)
    threshold = (count + 1) / 32 * sum(alike[i][j] for i in range(64) for j in range(i)) / (64 * 63 / 2)
    ranked, survivors = [], []
    for g in sorted(set(member)):
        order = falling([i for i in range(64) if member[i] == g], attention)
        kept = []
        for i in order:
            if not any(alike[i][j] > threshold for j in kept):
                kept.append(i)
        ranked.append(kept + [i for i in order if i not in kept])
        survivors.append(len(kept))
    caps = [min(5 * math.ceil((count + 1) / 64), len(r), s) for r, s in zip(ranked, survivors, strict=True)]
    while sum(caps) < min(count + 1, 64):
        caps = [min(len(r), cap + 1) for r, cap in zip(ranked, caps, strict=True)]
    ends = [
        round(sum(survivors[: i + 1]) / sum(survivors) * (count - len(ranked))) for i in range(len(ranked))
    ]
    given = [min(1 + end - start, cap) for start, end, cap in zip([0, *ends], ends, caps, strict=False)]
    for i in falling(range(len(ranked)), survivors):
        given[i] += min(caps[i] - given[i], count - sum(given))
    return [i for order, number in zip(ranked, given, strict=True) for i in order[:number]]


def test_prunesid_agrees_with_its_rule(tokens):
    for count in COUNTS:
        check(PruneSID(tokens=count), tokens, slow_prunesid(tokens, count))


def slow_vidcom2(tokens, count):
    """Of four frames of sixteen tokens."""
    embeds = tokens.embeds.double()
    spread = [float(((column - column.mean()) ** 2).mean()) for column in embeds.T]
    steady = sorted(range(16), key=lambda i: spread[i])[:8]
    rows = [row[steady] / row[steady].norm() for row in embeds]

    def near(row, others):
        squared = float(((row - sum(others) / len(others)) ** 2).sum())
        return sum(math.exp(-squared / (2 * 2.0**k)) for k in range(-3, 2))

    video = [near(row, rows) for row in rows]
    frame = [near(row, rows[i // 16 * 16 : i // 16 * 16 + 16]) for i, row in enumerate(rows)]
    unusual = [-sum(video[f * 16 : f * 16 + 16]) / 16 / 0.01 for f in range(4)]
    raised = [math.exp(value - max(unusual)) for value in unusual]
    rates = [1 + value / sum(raised) - 0.25 for value in raised]
    expected = []
    for f, share in enumerate(split_budget(count, rates, [16] * 4)):
        here = sorted(range(f * 16, f * 16 + 16), key=lambda i: video[i] + frame[i])
        expected += here[:share]
    return expected


def test_vidcom2_agrees_with_its_rule(tokens):
    place = tokens.slot
    cell = torch.stack([place // 16, place * 0, place % 16 // 4, place % 4], 1)  # frames of four by four
    for count in COUNTS:
        check(VidCom2(tokens=count), replace(tokens, cell=cell), slow_vidcom2(tokens, count))


def enlarged(tokens, first, attention):
    """A whole picture of 2x2 and the same enlarged, 4x4: tiles of 2x2, one for each of its tokens."""
    small = [(0, 0, i // 2, i % 2) for i in range(4)]
    large = [(0, 1, i // 4, i % 4) for i in range(16)]
    signals = {
        "cls_attention_first": torch.tensor(first + [0.0] * 16),
        "cls_attention": torch.tensor(attention),
    }
    return replace(tokens.take(torch.arange(20)), cell=torch.tensor(small + large), signals=signals)


def test_hired_gives_the_tiles_that_cls_attends_to_first_what_the_whole_picture_leaves(tokens):
    # [CLS] first attends to the upper left and the lower right; later tokens have more attention everywhere.
    picture = enlarged(tokens, [0.4, 0.1, 0.2, 0.3], [float(i) for i in range(20)])
    # Eight tokens: four for the whole picture, two for each of the tiles looked at (rows 0-1 x columns 0-1
    # and rows 2-3 x columns 2-3), the last two of each.
    assert HiRED(tokens=8).select(picture).slot.tolist() == [0, 1, 2, 3, 8, 9, 18, 19]
    assert HiRED(tokens=4).select(picture).slot.tolist() == [2, 3, 9, 19]
    # What those two tiles cannot take the others get.
    assert len(HiRED(tokens=18).select(picture)) == 18


def test_hired_on_a_picture_that_is_not_enlarged_is_cls_attention(tokens):
    best = falling(range(64), tokens.signals["cls_attention"])[:10]
    assert HiRED(tokens=10).select(tokens).slot.tolist() == sorted(best)


@pytest.mark.parametrize(
    ("budget", "weights", "sizes", "expected"),
    [
        (10, [1, 1], [8, 8], [5, 5]),
        (10, [3, 1], [16, 16], [8, 2]),  # 7.5 and 2.5: the first of two equal remainders
        (10, [9, 1], [4, 16], [4, 6]),
        (6, [5, 3, 1], [2, 2, 9], [2, 2, 2]),
        (3, [0, 0], [2, 4], [1, 2]),
        (2, [1, 0, 0], [1, 5, 5], [1, 1, 0]),
        (0, [1, 2], [3, 3], [0, 0]),
        (7, [1, 2], [3, 4], [3, 4]),
    ],
)
def test_a_budget_is_split_by_weights_up_to_sizes(budget, weights, sizes, expected):
    assert split_budget(budget, weights, sizes) == expected


@pytest.mark.parametrize(
    ("make", "option", "value"),
    [
        (VisPruner, "important", 1.5),
        (HiRED, "alpha", -0.1),
        (VidCom2, "temperature", 0),
        (TOPS, "coverage", -1),
        (TOPS, "diversity", -1),
        (MMTok, "alpha", -1),
        (MMTok, "text_temperature", 0),
        (MMTok, "vision_temperature", 0),
    ],
)
def test_an_option_out_of_range_is_refused(make, option, value):
    with pytest.raises(UsageError, match=f"{option} must be .* got {value}"):
        make(**{option: value})
