"""Compacting a book: which prototypes stay, how far redundancy may fall, what changes in the kept sets."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from wordsight._utils.records import checked
from wordsight.algorithms.selection import greedy_dominating_set
from wordsight.analysis.compaction import Compaction, compare_codebooks, describe_compaction, largest_fall
from wordsight.errors import UsageError
from wordsight.redundancy.codebook import Codebook, import_released
from wordsight.redundancy.probe import QUESTION
from wordsight.synthetic.scenes import render

RELEASED = Path(__file__).parents[2] / ".." / "shared" / "released_codebooks"
SIMILARITIES = pytest.mark.parametrize("similarity", [0.5, 0.8, 0.95, 0.98, 0.999])


def book_of(rows, fingerprint=None):
    prototypes = torch.as_tensor(rows, dtype=torch.float32)
    return Codebook(prototypes, {"format": 2, "model": "made-up", "fingerprint": fingerprint})


def at(*degrees):
    """Unit vectors of the plane."""
    return [[math.cos(math.radians(each)), math.sin(math.radians(each))] for each in degrees]


@pytest.fixture(params=range(4))
def book(request):
    """Forty prototypes around eight directions, at distances of all kinds."""
    random = torch.Generator().manual_seed(request.param)
    centers = torch.randn(8, 6, generator=random)
    spread = torch.rand(40, 1, generator=random) ** 2
    noise = torch.randn(40, 6, generator=random)
    lengths = 0.5 + 3 * torch.rand(40, 1, generator=random)
    return book_of(lengths * (centers[torch.arange(40) % 8] + spread * noise))


def slow(book, similarity):
    """The same rule in plain loops: the rows that stay."""
    rows = book.prototypes.double().tolist()

    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    free, stay = list(range(len(rows))), []
    while free:
        friends = {i: [j for j in free if i == j or cosine(rows[i], rows[j]) >= similarity] for i in free}
        most = max(len(found) for found in friends.values())
        best = min((i for i in free if len(friends[i]) == most), key=lambda i: (rows[i], i))
        stay.append(best)
        free = [i for i in free if i not in friends[best]]
    return book.prototypes[sorted(stay)]


@pytest.mark.parametrize("seed", range(10))
def test_leaders_of_any_neighborhoods_are_those_of_sets(seed):
    random = torch.Generator().manual_seed(seed)
    near = torch.rand(30, 30, generator=random) < 0.15
    near = near | near.T | torch.eye(30, dtype=torch.bool)
    place = torch.randperm(30, generator=random)
    free, expected = set(range(30)), []
    while free:
        reach = {i: {j for j in free if near[i, j]} for i in free}
        best = max(free, key=lambda i: (len(reach[i]), -int(place[i])))
        expected.append(best)
        free -= reach[best]
    assert greedy_dominating_set(near, place).tolist() == sorted(expected)


def test_by_hand_the_one_in_the_middle_stays_for_its_neighbors():
    # 10 degrees apart is a cosine of 0.985, 20 are 0.940; of two that repeat each other, the lower stays.
    compact = book_of(at(0, 10, 20, 90, 185, 180)).compact(0.98)
    assert torch.equal(compact.prototypes, torch.tensor(at(10, 90, 180)))


@SIMILARITIES
def test_the_rule_is_that_of_plain_loops(book, similarity):
    assert torch.equal(book.compact(similarity).prototypes, slow(book, similarity))


@SIMILARITIES
def test_what_goes_is_near_what_stays_and_what_stays_is_apart(book, similarity):
    stays = book.compact(similarity)
    assert 1 <= len(stays.prototypes) < len(book.prototypes) or similarity == 0.999
    assert (stays.redundancy(book.prototypes) >= similarity - 1e-6).all()
    assert len(stays.prototypes) == 1 or stays.repetition().max() < similarity


@SIMILARITIES
def test_the_same_prototypes_stay_in_any_order(book, similarity):
    order = torch.randperm(40, generator=torch.Generator().manual_seed(9))
    shuffled = replace(book, prototypes=book.prototypes[order]).compact(similarity)
    stays = book.compact(similarity)
    assert sorted(shuffled.prototypes.tolist()) == sorted(stays.prototypes.tolist())


@SIMILARITIES
def test_compacting_again_changes_nothing(book, similarity):
    once = book.compact(similarity)
    assert torch.equal(once.compact(similarity).prototypes, once.prototypes)


def hard_tokens(book):
    """Random tokens, prototypes, and the differences of prototypes: those fall most."""
    random = torch.randn(300, book.prototypes.shape[1], generator=torch.Generator().manual_seed(5))
    unit = torch.nn.functional.normalize(book.prototypes, dim=-1)
    pairs = [a - b for a, b in itertools.permutations(unit, 2)]
    return torch.cat([random, book.prototypes, torch.stack(pairs)])


@SIMILARITIES
def test_redundancy_never_rises_and_falls_no_further_than_the_bound(book, similarity):
    tokens = hard_tokens(book)
    fall = book.redundancy(tokens) - book.compact(similarity).redundancy(tokens)
    assert fall.min() >= -1e-6
    assert fall.max() <= largest_fall(similarity) + 1e-6


def test_the_bound_is_reached():
    pair = book_of(at(0, 10))
    tokens = torch.tensor([at(0)[0], at(10)[0]])
    tokens = torch.stack([tokens[0] - tokens[1], tokens[1] - tokens[0]])
    fall = pair.redundancy(tokens) - pair.compact(0.98).redundancy(tokens)
    assert fall.max() == pytest.approx(largest_fall(math.cos(math.radians(10))), abs=1e-6)


def test_at_one_only_equal_directions_go():
    rows = torch.tensor(
        [[0.1, 0.2, 0.7], [0.3, 0.1, 0.2], [0.2, 0.4, 1.4], [0.3, 0.1, 0.2], [0.3, 0.1, 0.2001]]
    )
    assert torch.equal(book_of(rows).compact(1.0).prototypes, rows[[0, 1, 4]])


def test_a_prototype_without_length_is_near_itself_alone():
    rows = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    assert len(book_of(rows).compact(0.5).prototypes) == 3


def test_what_stays_is_as_it_was_bit_for_bit_and_in_order(book):
    half = replace(book, prototypes=book.prototypes.half())
    stays = half.compact(0.9).prototypes
    assert stays.dtype == torch.float16
    rows = [int((half.prototypes == row).all(-1).nonzero()[0, 0]) for row in stays]
    assert rows == sorted(rows)


def test_the_record_tells_what_was_merged_each_time(book):
    once = book.compact(0.98)
    twice = once.compact(0.8)
    counts = [len(each.prototypes) for each in (book, once)]
    assert [(each["similarity"], each["prototypes"]) for each in twice.config["compacted"]] == [
        (0.98, counts[0]),
        (0.8, counts[1]),
    ]
    assert [each["digest"] for each in twice.config["compacted"]] == [book.digest, once.digest]
    assert twice.config["counts"]["prototypes"] == len(twice.prototypes)
    assert twice.config["model"] == "made-up"
    assert "compacted" not in book.config


@pytest.mark.parametrize("similarity", [0, -0.5, 1.01, math.nan])
def test_another_similarity_than_a_cosine_is_refused(book, similarity):
    with pytest.raises(UsageError, match=r"similarity must be a cosine in \(0, 1\]"):
        book.compact(similarity)


def test_repetition_is_the_cosine_with_every_other(book):
    found = book.repetition()
    assert (found.diagonal() == -math.inf).all()
    rows = book.prototypes.double()
    for i, j in ((0, 1), (3, 30), (39, 2)):
        assert float(found[i, j]) == pytest.approx(float(torch.cosine_similarity(rows[i], rows[j], 0)))


@pytest.mark.skipif(
    not RELEASED.is_dir(), reason="runs where the authors' codebooks lie in ../shared/released_codebooks"
)
def test_the_released_book_repeats_itself_and_gets_shorter():
    whole = import_released(RELEASED / "llava-v1.5-7b.pt", "llava-1.5-7b")
    assert float(whole.repetition().amax(1).median()) == pytest.approx(0.97, abs=0.005)
    compact = whole.compact(0.95)
    assert len(compact.prototypes) < 0.6 * len(whole.prototypes)
    tokens = torch.randn(200, 4096, generator=torch.Generator().manual_seed(0))
    fall = whole.redundancy(tokens) - compact.redundancy(tokens)
    assert fall.min() >= -1e-6
    assert fall.max() <= largest_fall(0.95)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for seed in (1, 2, 3):
        render(seed).image.save(folder / f"{seed}.png")
    return sorted(folder.glob("*.png"))


@pytest.fixture(scope="module")
def seen(tiny, photos):
    """The tokens of each photo."""
    return [tiny.encode(path, QUESTION).visual.embeds for path in photos]


@pytest.fixture(scope="module")
def books(tiny, seen):
    whole = book_of(torch.cat([embeds[::9] for embeds in seen]), tiny.fingerprint)
    return whole, whole.compact(0.6)


def least_redundant(book, embeds, count):
    """By sorting: the places of so many tokens, the lower place first among equals."""
    order = sorted(range(len(embeds)), key=lambda i: (float(book.redundancy(embeds)[i]), i))
    return set(order[:count])


def test_the_share_kept_by_both_is_that_of_sets(tiny, photos, seen, books):
    record = compare_codebooks(tiny, *books, photos, keeps=(0.25, 0.5))
    for told, count in zip(record["kept"], (36, 72), strict=True):
        shares = [
            len(least_redundant(books[0], embeds, count) & least_redundant(books[1], embeds, count)) / count
            for embeds in seen
        ]
        assert told["by_both"] == pytest.approx(sum(shares) / 3)
        assert told["least"] == min(shares)
        assert 0 < told["by_both"] < 1


def test_the_fall_is_told_over_all_tokens(tiny, photos, seen, books):
    record = compare_codebooks(tiny, *books, photos)
    fall = [
        max(float(a @ b / a.norm() / b.norm()) for b in books[0].prototypes)
        - max(float(a @ b / a.norm() / b.norm()) for b in books[1].prototypes)
        for embeds in seen
        for a in embeds
    ]
    assert record["tokens"] == len(fall) == 3 * 144
    assert record["redundancy"]["largest_fall"] == pytest.approx(max(fall), abs=1e-5)
    assert record["redundancy"]["mean_fall"] == pytest.approx(sum(fall) / len(fall), abs=1e-5)


def test_a_record_is_plain_json(tiny, photos, books):
    record = describe_compaction(*books, 0.6) | {
        "on_pictures": compare_codebooks(tiny, *books, photos),
        "skipped": {},
    }
    plain = json.loads(json.dumps(record, allow_nan=False))
    assert checked(Compaction, plain, "here") == plain
    assert plain["prototypes"] == {"before": len(books[0].prototypes), "after": len(books[1].prototypes)}
    assert plain["largest_fall_possible"] == largest_fall(0.6)


def test_a_book_that_stays_the_same_changes_nothing(tiny, photos, books):
    record = compare_codebooks(tiny, books[0], books[0], photos)
    assert {told["least"] for told in record["kept"]} == {1.0}
    assert record["redundancy"] == {"largest_fall": 0.0, "mean_fall": 0.0}


def test_a_book_of_another_model_is_refused(tiny, photos):
    other = book_of(torch.randn(3, 32), "f00d")
    with pytest.raises(UsageError, match="prototypes mean nothing in another model"):
        compare_codebooks(tiny, other, other, photos)
