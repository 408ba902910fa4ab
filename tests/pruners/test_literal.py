"""Methods that save work, against the same rules on whole matrices with nothing saved, on many tokens too."""

from dataclasses import replace

import pytest
import torch

from wordsight.algorithms import selection
from wordsight.algorithms.selection import facility_location, farthest_first, min_max_scaled, top_indices
from wordsight.models.tokens import VisualTokens
from wordsight.pruners import vispruner
from wordsight.pruners.cenprune import CenPrune
from wordsight.pruners.divprune import DivPrune
from wordsight.pruners.embedlens import EmbedLens
from wordsight.pruners.mmtok import MMTok
from wordsight.pruners.prumerge import PruMerge
from wordsight.pruners.prunesid import _groups
from wordsight.pruners.scope import Scope
from wordsight.pruners.tome import ToMe
from wordsight.pruners.tops import TOPS
from wordsight.pruners.visionzip import VisionZip
from wordsight.pruners.vispruner import VisPruner
from wordsight.redundancy.codebook import Codebook

SIZES = (144, 576, 2880)


def drawn(count, kind):
    """Random tokens: each on its own, in groups, or copies of a third of them."""
    generator = torch.Generator().manual_seed(count)

    def rows(*shape):
        own = torch.randn(count, *shape, generator=generator)
        group = torch.randint(30, (count,), generator=generator)
        return torch.randn(30, *shape, generator=generator)[group] + 0.3 * own if kind == "groups" else own

    embeds, place = rows(48), torch.arange(count)
    signals = {
        "features": rows(40),
        "keys": rows(2, 16),
        "keys_last": rows(2, 16),
        "question": torch.rand(count, 5, generator=generator) * 2 - 1,
        "nearest_word": torch.randint(count // 4, (count,), generator=generator),
        **{
            name: torch.rand(count, generator=generator)
            for name in ("cls_attention", "cls_attention_undivided", "word_similarity")
        },
    }
    if kind == "copies":
        copied = torch.randint(count // 3, (count,), generator=generator)
        embeds, signals = embeds[copied], {name: signal[copied] for name, signal in signals.items()}
    cell = torch.stack([place * 0, place * 0, place // 12, place % 12], 1)
    return VisualTokens(embeds, place, cell, signals=signals)


CASES = [(size, kind) for size in SIZES for kind in ("single", "groups", "copies")]


@pytest.fixture(params=[case for case in CASES if case != (2880, "single")], ids=str)
def many(request):
    return drawn(*request.param)


def cosines(embeds):
    unit = torch.nn.functional.normalize(embeds.float(), dim=-1)
    return unit @ unit.T


def whole_facility_location(similarity, count, quality):
    chosen, covered = [], torch.zeros_like(similarity[:, 0])
    for _ in range(count):
        gain = quality * (similarity - covered[:, None]).clamp(min=0).sum(0)
        gain[chosen] = -torch.inf
        chosen.append(int((gain >= (1 - 1e-6) * gain.max()).int().argmax()))
        covered = torch.maximum(covered, similarity[:, chosen[-1]])
    return chosen


def few(tokens):
    """As many as can be picked by the cubic rules in a moment."""
    return min(len(tokens) // 5, 50_000_000 // len(tokens) ** 2)


def test_coverage_is_that_summed_anew_for_every_token_in_the_same_order(many):
    features, attention = many.signals["features"], many.signals["cls_attention"]
    expected = whole_facility_location(cosines(features), few(many), attention)
    assert facility_location(selection.cosine(features), few(many), attention).tolist() == expected
    assert Scope(tokens=few(many)).select(many).slot.tolist() == sorted(expected)


def test_mmtok_covers_as_summed_anew_for_every_token(many):
    words = (many.signals["question"].T / 0.02).softmax(1) / 5
    others = (cosines(many.signals["features"]) / 0.2).softmax(1) / 2 / len(many)
    cover = torch.cat([words, others])
    expected = whole_facility_location(cover, few(many), torch.ones(len(many)))
    assert MMTok(tokens=few(many)).select(many).slot.tolist() == sorted(expected)


def whole_tops(tokens, count):
    alike, relevance = cosines(tokens.signals["features"]), min_max_scaled(tokens.signals["cls_attention"])
    chosen = [int(relevance.argmax())]
    while len(chosen) < count:
        left = torch.tensor(sorted(set(range(len(tokens))) - set(chosen)))
        nearest = alike[chosen].amax(0)
        gain = (alike[left][:, left] - nearest[left]).clamp(min=0).sum(1)
        worth = relevance[left] + 0.5 * min_max_scaled(gain) + 0.5 * (1 - nearest[left])
        chosen.append(int(left[worth.argmax()]))
    return sorted(chosen)


def test_tops_gains_are_those_summed_anew_for_every_token(many):
    assert TOPS(tokens=few(many)).select(many).slot.tolist() == whole_tops(many, few(many))


def test_tops_of_copies_of_one_token_takes_the_most_relevant_and_then_the_first(many):
    same = {**many.signals, "features": many.signals["features"][:1].expand(len(many), -1)}
    level = same["cls_attention"].round()  # two values
    kept = TOPS(tokens=20).select(replace(many, signals={**same, "cls_attention": level}))
    assert kept.slot.tolist() == top_indices(level, 20).tolist()


def whole_vispruner(tokens, count):
    alike = cosines(tokens.signals["features"])
    best = top_indices(tokens.signals["cls_attention"], len(tokens))
    kept, left = best[: count // 2], best[count // 2 :]
    while len(left) > count - count // 2:
        ours, others = left[::2], left[1::2]
        order = top_indices(alike[ours][:, others].amax(1), len(ours))
        left = torch.cat([ours[order[min(8, len(left) - count + count // 2, len(ours)) :]], others])
    return torch.cat([kept, left]).sort().values.tolist()


@pytest.mark.parametrize("nearest", [1, 3, 32])
def test_vispruner_drops_as_if_all_were_compared_in_every_round(many, nearest, monkeypatch):
    monkeypatch.setattr(vispruner, "NEAREST", nearest)
    for count in (len(many) // 5, len(many) * 4 // 5) if len(many) < 1000 else (len(many) * 9 // 10,):
        assert VisPruner(tokens=count).select(many).slot.tolist() == whole_vispruner(many, count), count


def whole_tome(tokens, count):
    parts, left = torch.eye(len(tokens)).double(), torch.arange(len(tokens))
    while len(left) > count:
        means = parts[left] / parts[left].sum(1, keepdim=True) @ tokens.embeds.double()
        link, partner = cosines(means)[::2, 1::2].max(-1)
        going = top_indices(link, min(len(left) - count, len(left) // 2))
        merged, into = left[::2][going], left[1::2][partner[going]]
        parts = parts.index_add(0, into, parts[merged])
        left = left[~torch.isin(left, merged)]
    return left, parts[left] / parts[left].sum(1, keepdim=True)


def test_tome_merges_as_if_all_were_compared_with_all(many):
    for count in (len(many) // 5, len(many) // 2):
        left, weights = ToMe().merge_weights(many, count)
        expected_left, expected = whole_tome(many, count)
        assert torch.equal(left, expected_left), count
        torch.testing.assert_close(weights.double(), expected)


def test_prumerge_adds_the_nearest_of_all(many):
    count, attention = len(many) // 10, many.signals["cls_attention_undivided"]
    best = top_indices(attention, len(many))
    alike = cosines(many.signals["keys_last"].flatten(1)).fill_diagonal_(-torch.inf)[best[: count - 1]]
    near = alike.topk(32).indices
    weights = torch.eye(len(many))[best[: count - 1]].scatter_add(1, near, attention[near])
    found = PruMerge().merge_weights(many, count)[1]
    torch.testing.assert_close(found[:-1] @ many.embeds, weights @ many.embeds, atol=1e-4, rtol=1e-4)


def test_visionzip_adds_to_a_target_the_mean_of_those_that_are_most_similar_to_it(many):
    count = len(many) // 4
    merged = round(count * 10 / 64)
    best = top_indices(many.signals["cls_attention"], len(many))
    rest = best[count - merged :].sort().values
    targets = torch.arange(merged) * (len(rest) // merged)
    alike = cosines(many.signals["keys"].mean(1)[rest])[:, targets]
    member = alike.argmax(1)
    member[targets] = -1
    index, weights = VisionZip().merge_weights(many, count)
    assert index[count - merged :].tolist() == rest[targets].tolist()
    for number, row in enumerate(weights[count - merged :]):
        expected = torch.zeros(len(many))
        members = rest[member == number]
        expected[members] = 1 / max(1, len(members))
        expected[rest[targets[number]]] = 1
        torch.testing.assert_close(row, expected)


def test_prunesid_groups_by_the_components_of_a_singular_value_decomposition(many):
    features = (
        many.signals["features"].repeat(1, 8)[:, : len(many) // 2]
        if len(many) < 600
        else many.signals["features"]
    )
    channels = features.double().sigmoid().T
    _, spread, components = torch.linalg.svd(channels - channels.mean(0), full_matrices=False)
    for count in (1, 9, len(many)):
        explained = components[:count][spread[:count] > 1e-5 * spread[0]]
        assert _groups(features, count).tolist() == explained.abs().argmax(0).tolist(), count


def whole_farthest_first(distance, count):
    chosen = [int(distance.clone().fill_diagonal_(torch.inf).amin(0).argmax())]
    while len(chosen) < count:
        nearest = distance[chosen].amin(0)
        nearest[chosen] = -torch.inf
        chosen.append(int(nearest.argmax()))
    return chosen


@pytest.mark.parametrize("block", [50, 1024])
def test_no_token_is_its_own_neighbor(many, block, monkeypatch):
    monkeypatch.setattr(selection, "BLOCK", block)
    distance = torch.rand(len(many), len(many), generator=torch.Generator().manual_seed(1)).fill_diagonal_(0)
    assert farthest_first(distance, 20).tolist() == whole_farthest_first(distance, 20)


def test_divprune_and_cenprune_choose_by_whole_matrices():
    for size in SIZES:
        tokens = drawn(size, "groups")
        count = size // 10
        expected = whole_farthest_first(1 - cosines(tokens.embeds), count)
        assert DivPrune(tokens=count).select(tokens).slot.tolist() == sorted(expected)
        alike = cosines(tokens.embeds)
        distinct = min_max_scaled(-(alike.sum(1) - alike.diagonal()))
        centered = 1 - cosines(tokens.embeds - tokens.embeds.mean(0))
        expected = whole_farthest_first(centered * distinct, count)
        assert CenPrune(tokens=count).select(tokens).slot.tolist() == sorted(expected)


def test_embedlens_counts_those_that_share_a_word(many):
    word = many.signals["nearest_word"]
    shared = (word[:, None] == word).sum(1)
    assert torch.equal(EmbedLens().score(many), (many.signals["word_similarity"] + 1) / 3 - shared)


@pytest.mark.parametrize("block", [7, 50, 144])
def test_the_size_of_a_block_changes_no_cosine(block, monkeypatch):
    monkeypatch.setattr(selection, "BLOCK", block)
    embeds, others = torch.randn(2, 144, 24, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(selection.cosine(embeds), cosines(embeds))
    values, indices = selection.most_similar(embeds, others)
    alike = cosines(torch.cat([embeds, others]))[:144, 144:]
    torch.testing.assert_close(values, alike.amax(1))
    assert torch.equal(indices, alike.argmax(1))


def test_redundancy_is_the_highest_of_all_cosines():
    generator = torch.Generator().manual_seed(3)
    embeds = torch.randn(2500, 8, generator=generator)
    book = Codebook(torch.randn(30, 8, generator=generator), {"format": 1, "model": "-", "fingerprint": None})
    torch.testing.assert_close(book.redundancy(embeds), book.similarity(embeds).amax(1))
    assert len(book.redundancy(embeds[:0])) == 0
