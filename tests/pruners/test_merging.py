"""Methods that merge tokens, against slow loops written from their rules."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from wordsight.errors import UsageError
from wordsight.pruners.pool import Pool
from wordsight.pruners.prumerge import PruMerge
from wordsight.pruners.tome import ToMe
from wordsight.pruners.uniform import Uniform
from wordsight.pruners.visionzip import VisionZip

COUNTS = (1, 2, 5, 13, 40, 63)


def cosine(a, b):
    return float(a.double() @ b.double() / a.double().norm() / b.double().norm())


def falling(values):
    return sorted(range(len(values)), key=lambda i: -float(values[i]))


def check(pruner, tokens, expected):
    """What is kept, against the vectors that are expected by slot."""
    kept = pruner.select(tokens)
    assert kept.slot.tolist() == sorted(expected), pruner
    vectors = torch.stack([expected[slot] for slot in sorted(expected)])
    torch.testing.assert_close(
        kept.embeds, vectors.float(), rtol=1e-4, atol=1e-4, msg=lambda text: f"{pruner}: {text}"
    )


def slow_pool(tokens, count):
    anchors = Uniform(tokens=count).select(tokens).slot.tolist()
    groups = {anchor: [] for anchor in anchors}
    for token in range(64):
        away = [(token // 8 - a // 8) ** 2 + (token % 8 - a % 8) ** 2 for a in anchors]
        groups[anchors[away.index(min(away))]].append(token)
    return {anchor: tokens.embeds[members].mean(0) for anchor, members in groups.items()}


def test_pool_is_the_mean_of_what_is_nearest_on_the_grid(tokens):
    for count in COUNTS:
        check(Pool(tokens=count), tokens, slow_pool(tokens, count))


def test_pool_never_mixes_two_pictures_that_both_keep_a_token(tokens):
    halves = replace(tokens, cell=tokens.cell + (tokens.slot >= 32)[:, None] * torch.tensor([1, 0, -4, 0]))
    kept = Pool(tokens=2).select(halves)
    torch.testing.assert_close(
        kept.embeds, torch.stack([tokens.embeds[:32].mean(0), tokens.embeds[32:].mean(0)])
    )


def slow_visionzip(tokens, count, contextual):
    merged = round(count * contextual)
    best = falling(tokens.signals["cls_attention"])
    dominant, rest = best[: count - merged], sorted(best[count - merged :])
    keys = tokens.signals["keys"].mean(1)
    targets = [rest[i * max(1, len(rest) // merged)] for i in range(merged)]
    members = {target: [] for target in targets}
    for token in rest:
        if targets and token not in targets:
            members[max(targets, key=lambda target: cosine(keys[token], keys[target]))].append(token)
    expected = {token: tokens.embeds[token] for token in dominant}
    for target, group in members.items():
        added = tokens.embeds[group].mean(0) if group else torch.zeros(16)
        expected[target] = tokens.embeds[target] + added
    return expected


@pytest.mark.parametrize("contextual", [0.0, 10 / 64, 0.5, 1.0])
def test_visionzip_agrees_with_its_rule(tokens, contextual):
    for count in COUNTS:
        expected = slow_visionzip(tokens, count, contextual)
        check(VisionZip(tokens=count, contextual=contextual), tokens, expected)


def slow_prumerge(tokens, count, evenly, neighbors):
    attention, keys = tokens.signals["cls_attention_undivided"], tokens.signals["keys_last"].flatten(1)
    best = falling(attention)
    spread = min(round(count * evenly), count - 1)
    top = best[: max(1, count - 1 - spread)]
    rest = sorted(best[len(top) :])
    more = count - 1 - len(top) if count > 1 else 0
    centers = top + [rest[i * len(rest) // more] for i in range(more)]
    expected = {}
    for center in centers:
        others = sorted((i for i in range(64) if i != center), key=lambda i: -cosine(keys[i], keys[center]))
        expected[center] = tokens.embeds[center] + sum(
            attention[i] * tokens.embeds[i] for i in others[:neighbors]
        )
    if count > 1:
        dropped = [i for i in best if i not in centers]
        expected[dropped[0]] = sum(attention[i] * tokens.embeds[i] for i in dropped)
    return expected


@pytest.mark.parametrize(("evenly", "neighbors"), [(0.0, 32), (0.75, 32), (0.75, 3), (0.0, 0)])
def test_prumerge_agrees_with_its_rule(tokens, evenly, neighbors):
    for count in COUNTS:
        expected = slow_prumerge(tokens, count, evenly, neighbors)
        check(PruMerge(tokens=count, evenly=evenly, neighbors=neighbors), tokens, expected)


@pytest.mark.parametrize("evenly", [0.0, 0.75])
def test_prumerge_counts_the_outliers_of_attention(tokens, evenly):
    attention = tokens.signals["cls_attention_undivided"].numpy()
    quarters = np.percentile(attention, [25, 75])
    outliers = [value for value in attention if value > quarters[1] + 1.5 * (quarters[1] - quarters[0])]
    assert len(outliers) > 1  # all of them are kept, what is even beside them, and the sum of the others
    method = PruMerge(evenly=evenly, adaptive=True, tokens=2)
    kept = method.prune(tokens)
    assert len(kept) == len(outliers) + 1 + (3 * (len(outliers) + 1) if evenly else 0)
    assert set(falling(attention)[: len(outliers)]) <= set(kept.slot.tolist())
    assert not method.has_fixed_budget


@pytest.mark.parametrize(("evenly", "count"), [(0.0, 1), (0.75, 4)])
def test_prumerge_without_outliers_keeps_the_least(tokens, evenly, count):
    flat = replace(tokens, signals={**tokens.signals, "cls_attention_undivided": torch.full((64,), 1 / 64)})
    method = PruMerge(evenly=evenly, adaptive=True)
    assert len(method.prune(flat)) == count
    assert len(method.prune(flat.take(torch.arange(1)))) == 1


def slow_tome(tokens, count):
    """Groups of (slot, members); every vector is the plain mean of its members."""
    groups = [(slot, [slot]) for slot in range(64)]

    def vector(group):
        return tokens.embeds[group[1]].mean(0)

    while len(groups) > count:
        ours, others = groups[::2], groups[1::2]
        links = []
        for i, group in enumerate(ours):
            alike = [cosine(vector(group), vector(other)) for other in others]
            links.append((max(alike), -i, alike.index(max(alike))))
        going = sorted(links, reverse=True)[: min(len(groups) - count, len(others))]
        joined = {id(ours[-i]): others[partner] for _, i, partner in going}
        grown = {id(other): list(other[1]) for other in others}
        for group in ours:
            if id(group) in joined:
                grown[id(joined[id(group)])] += group[1]
        groups = [(g[0], grown.get(id(g), g[1])) for g in groups if id(g) not in joined]
    return {slot: tokens.embeds[members].mean(0) for slot, members in groups}


def test_tome_agrees_with_its_rule(tokens):
    for count in COUNTS:
        check(ToMe(tokens=count), tokens, slow_tome(tokens, count))


@pytest.mark.parametrize("make", [Pool, PruMerge, ToMe, VisionZip])
def test_deepstack_features_are_merged_like_the_tokens(make, tokens):
    kept = make(keep=0.3).select(
        replace(tokens, deep=(2 * tokens.embeds, tokens.embeds - tokens.embeds[:, :1]))
    )
    torch.testing.assert_close(kept.deep[0], 2 * kept.embeds)
    torch.testing.assert_close(kept.deep[1], kept.embeds - kept.embeds[:, :1])


@pytest.mark.parametrize("make", [Pool, PruMerge, ToMe, VisionZip])
def test_merged_tokens_keep_their_type(make, tokens):
    half = replace(tokens, embeds=tokens.embeds.bfloat16())
    assert make(keep=0.1).select(half).embeds.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("make", "option", "value"),
    [(VisionZip, "contextual", 1.1), (PruMerge, "evenly", 1.0), (PruMerge, "neighbors", -1)],
)
def test_an_option_out_of_range_is_refused(make, option, value):
    with pytest.raises(UsageError, match=f"{option} must be .* got {value}"):
        make(**{option: value})
