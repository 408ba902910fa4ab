"""What prototypes are: words, patches, map, repetitions and what they prune, against plain loops."""

import json
import math
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wordsight._utils.records import checked
from wordsight.algorithms.clustering import dpc_knn
from wordsight.analysis.prototypes import Inspection, inspect_codebook, principal
from wordsight.errors import UsageError
from wordsight.redundancy import probe
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.probe import QUESTION, probe_tokens, with_embeddings
from wordsight.reports.book import sentences, words_of
from wordsight.synthetic.scenes import render

ROWS = torch.arange(0, 144, 8)  # the tokens of each photo that are prototypes
KEEP = 0.25


@pytest.fixture(scope="module")
def shown(tiny, tmp_path_factory):
    """Three photos, their prompts, a book of tokens of the first two, and its record."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in (1, 2, 3):
        render(seed).image.save(folder / f"{seed}.png")
    photos = sorted(folder.glob("*.png"))
    prompts = [tiny.encode(photo, QUESTION) for photo in photos]
    prototypes = torch.cat([prompt.visual.embeds[ROWS] for prompt in prompts[:2]])
    book = Codebook(prototypes, {"format": 2, "model": "made-up", "fingerprint": tiny.fingerprint})
    record = inspect_codebook(tiny, book, photos, keep=KEEP, sure=0.1)
    return SimpleNamespace(photos=photos, prompts=prompts, book=book, record=record)


def cosine(a, b):
    return float(a @ b / a.norm() / b.norm())


def column(shown, name):
    return [each[name] for each in shown.record["prototypes"]]


def test_a_record_is_plain_json(shown):
    plain = json.loads(json.dumps(shown.record, allow_nan=False))
    assert json.loads(json.dumps(checked(Inspection, plain, "here"))) == plain


def test_a_prototype_that_is_a_token_says_what_the_token_says(shown, tiny):
    for part, prompt in enumerate(shown.prompts[:2]):
        reading = probe_tokens(tiny, prompt)
        own = shown.record["prototypes"][part * len(ROWS) : (part + 1) * len(ROWS)]
        for each, row in zip(own, ROWS.tolist(), strict=True):
            assert [word for word, _ in each["words"]] == [word for word, _ in reading.words[row][:5]]
            assert each["confidence"] == pytest.approx(float(reading.confidence[row]), abs=1e-5)


def test_a_prototype_prunes_the_dropped_tokens_that_it_is_nearest_to(shown):
    expected = Counter()
    for prompt in shown.prompts:
        near = [[cosine(token, p) for p in shown.book.prototypes] for token in prompt.visual.embeds]
        order = sorted(range(144), key=lambda i: max(near[i]), reverse=True)
        expected.update(near[i].index(max(near[i])) for i in order[: round((1 - KEEP) * 144)])
    assert column(shown, "prunes") == [expected[i] for i in range(len(shown.book.prototypes))]
    assert shown.record["dropped"] == 3 * 108 == expected.total()
    assert shown.record["idle"] == len(shown.book.prototypes) - len(expected)


def test_the_examples_are_the_nearest_token_of_every_picture_the_nearest_first(shown):
    for number in (0, 5, 30):
        prototype = shown.book.prototypes[number]
        best = []
        for picture, prompt in enumerate(shown.prompts):
            near = [cosine(token, prototype) for token in prompt.visual.embeds]
            token = near.index(max(near))
            best.append((near[token], picture, token))
        best.sort(reverse=True)
        found = shown.record["prototypes"][number]["examples"]
        assert [each["picture"] for each in found] == [picture for _, picture, _ in best]
        assert [each["cell"][2] * 12 + each["cell"][3] for each in found] == [token for *_, token in best]
        assert [each["cosine"] for each in found] == pytest.approx([near for near, *_ in best], abs=1e-5)


def test_the_box_of_an_example_is_that_of_its_cell(shown):
    for each in column(shown, "examples"):
        for example in each:
            row, place = example["cell"][2:]
            assert example["box"] == pytest.approx([place / 12, row / 12, (place + 1) / 12, (row + 1) / 12])


def test_the_nearest_other_prototype_is_that_of_loops(shown):
    rows = shown.book.prototypes
    for i, (other, near) in enumerate(column(shown, "nearest")):
        cosines = [cosine(rows[i], rows[j]) if j != i else -2 for j in range(len(rows))]
        assert cosines[other] == pytest.approx(max(cosines), abs=1e-6)
        assert near == pytest.approx(max(cosines), abs=1e-5)
    nearest = sorted(near for _, near in column(shown, "nearest"))
    told = shown.record["repetition"]
    assert [told["least"], told["most"]] == pytest.approx([nearest[0], nearest[-1]])
    assert told["median"] == pytest.approx(np.median(nearest))
    assert told["quarter"] == pytest.approx(np.quantile(nearest, 0.25))


def test_clusters_are_those_of_directions_whatever_their_length(shown):
    rows = shown.book.prototypes.double()
    assert column(shown, "cluster") == dpc_knn(rows / rows.norm(dim=-1, keepdim=True), 12).tolist()


def test_a_cluster_counts_what_its_prototypes_say_and_prune(shown):
    for cluster in shown.record["clusters"]:
        own = [each for each in shown.record["prototypes"] if each["cluster"] == cluster["number"]]
        assert cluster["prototypes"] == len(own) > 0
        assert cluster["prunes"] == sum(each["prunes"] for each in own)
        assert cluster["confidence"] == pytest.approx(np.mean([each["confidence"] for each in own]))
        said = Counter(each["words"][0][0] for each in own if not each["says_nothing"])
        assert dict(cluster["words"]).items() <= said.items()
        assert max(dict(cluster["words"]).values(), default=0) == max(said.values(), default=0)
        assert cluster["says_nothing"] == len(own) - said.total()
        assert shown.record["prototypes"][cluster["center"]] in own


def test_prototypes_that_say_a_word_surely_are_flagged_with_share_and_words(shown, tiny, monkeypatch):
    monkeypatch.setattr(probe, "NOISE_FLOOR", 0)
    sure = sorted(column(shown, "confidence"))[-5]
    says = inspect_codebook(tiny, shown.book, shown.photos[:1], sure=sure)["says"]
    words = [each["words"][0][0] for each in shown.record["prototypes"] if each["confidence"] >= sure]
    assert (says["flagged"], says["prototypes"], says["share"]) == (True, 5, 5 / 36)
    assert dict(says["words"]) == Counter(words)
    assert [count for _, count in says["words"]] == sorted(Counter(words).values(), reverse=True)


def test_prototypes_that_say_no_more_than_the_question_are_dots_and_not_flagged(shown, tiny, monkeypatch):
    monkeypatch.setattr(probe, "NOISE_FLOOR", 1)
    record = inspect_codebook(tiny, shown.book, shown.photos[:1], sure=0.001)
    assert (record["says"]["prototypes"], record["says"]["flagged"]) == (0, False)
    assert "36 of them say nothing: the model says the same as without any picture." in sentences(record)
    for cluster in record["clusters"]:
        assert (cluster["words"], cluster["says_nothing"]) == ([], cluster["prototypes"])
        assert words_of(cluster) == f"· ({cluster['prototypes']})"


def test_a_book_that_says_nothing_surely_is_not_flagged(shown, tiny):
    says = inspect_codebook(tiny, shown.book, shown.photos[:1], sure=1.0)["says"]
    assert says == {"sure": 1.0, "prototypes": 0, "share": 0.0, "words": [], "flagged": False}


def test_one_prototype_has_no_other_and_no_map(shown, tiny):
    one = Codebook(shown.book.prototypes[:1], shown.book.config)
    record = inspect_codebook(tiny, one, shown.photos[:1])
    (only,) = record["prototypes"]
    assert (record["repetition"], only["nearest"], only["map"]) == (None, None, [0.0, 0.0])
    assert only["prunes"] == record["dropped"] == 115
    assert len(record["clusters"]) == 1


def test_a_book_of_another_model_is_refused(shown, tiny):
    other = Codebook(shown.book.prototypes, {"format": 2, "model": "another", "fingerprint": "f00d"})
    with pytest.raises(UsageError, match="prototypes mean nothing in another model"):
        inspect_codebook(tiny, other, shown.photos)


@pytest.mark.parametrize("options", [{"sure": 0}, {"sure": 1.5}, {"sure": math.nan}, {"keep": 0.0}])
def test_what_is_no_share_is_refused(shown, tiny, options):
    with pytest.raises(UsageError, match=f"{next(iter(options))} must be"):
        inspect_codebook(tiny, shown.book, shown.photos, **options)


def test_the_map_by_hand():
    # Along (3, 4) by 5, 0 and -5; beside it by 1, -2 and 1. The larger coordinate of each axis is positive.
    along, beside = torch.tensor([0.6, 0.8]), torch.tensor([0.8, -0.6])
    steps = torch.tensor([[5.0, 1.0], [0.0, -2.0], [-5.0, 1.0]])
    places, shares = principal(10 + steps @ torch.stack([along, beside]))
    torch.testing.assert_close(places, steps.double(), atol=1e-5, rtol=0)
    assert shares == pytest.approx([50 / 56, 6 / 56], abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_map_is_that_of_the_covariance(seed):
    points = np.random.default_rng(seed).normal(size=(20, 6)) * [5, 4, 3, 1, 1, 1]
    places, shares = principal(torch.from_numpy(points))
    values, vectors = np.linalg.eigh(np.cov(points.T))
    assert shares == pytest.approx([values[-1] / values.sum(), values[-2] / values.sum()])
    for i, axis in enumerate((vectors[:, -1], vectors[:, -2])):
        axis = axis * np.sign(axis[np.abs(axis).argmax()])
        np.testing.assert_allclose(places[:, i], (points - points.mean(0)) @ axis, atol=1e-8)


def test_the_map_has_the_same_places_in_any_order():
    points = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(20)
    torch.testing.assert_close(principal(points[order])[0], principal(points)[0][order])


def test_points_in_one_place_or_on_one_axis_have_a_map():
    places, shares = principal(torch.ones(4, 3))
    assert (places.abs().max(), shares) == (0, [0.0, 0.0])
    places, shares = principal(torch.tensor([[1.0], [3.0]]))
    assert places.tolist() == [[-1, 0], [1, 0]]
    assert shares == [1.0, 0.0]


def test_embeddings_in_place_take_the_place_of_the_first_token_and_nothing_deeper(prompt):
    deep = replace(prompt, visual=replace(prompt.visual, deep=(torch.ones_like(prompt.visual.embeds),)))
    stood = with_embeddings(deep, torch.ones(3, 32, dtype=torch.float64)).visual
    assert torch.equal(stood.embeds, torch.ones(3, 32))
    assert stood.slot.tolist() == [0, 0, 0]
    assert torch.equal(stood.cell, prompt.visual.cell[[0, 0, 0]])
    assert [layer.abs().sum() for layer in stood.deep] == [0]
