"""Conditions worked out by hand, books of made-up evidence, and the models a book is not for."""

from dataclasses import replace

import pytest
import torch

from wordsight.codebook import PAPER, Clustering, Codebook, Condition, Quantile
from wordsight.errors import UsageError
from wordsight.evidence import Evidence

MEASURES = ("jensen_shannon", "released_divergence")


def evidence_of(embeds, image, found, measure="jensen_shannon"):
    """Evidence that found this confidence, regional and global divergence; the other measure is high."""
    confidence, regional, whole = found
    count = len(embeds)
    divergence = {
        f"{scope}/{name}": torch.full((count,), 9.0) for scope in ("regional", "global") for name in MEASURES
    }
    divergence[f"regional/{measure}"] = torch.as_tensor(regional)
    divergence[f"global/{measure}"] = torch.as_tensor(whole)
    names = [f"{i}.png" for i in range(int(image.max()) + 1)] if count else []
    manifest = {
        "format": 1,
        "model": "made-up",
        "fingerprint": "f00d",
        "question": "what is it?",
        "pictures": [{"name": name, "sha256": name} for name in names],
    }
    return Evidence(
        embeds=embeds,
        image=image,
        cell=torch.zeros(count, 4, dtype=torch.long),
        confidence=torch.as_tensor(confidence),
        words=torch.zeros(count, 5, dtype=torch.long),
        word_probabilities=torch.full((count, 5), 0.2),
        divergence=divergence,
        pictures=tuple(names),
        manifest=manifest,
    )


def rows_of(confidence, regional, whole, measure="jensen_shannon"):
    count = len(confidence)
    return evidence_of(
        torch.zeros(count, 4), torch.zeros(count, dtype=torch.long), (confidence, regional, whole), measure
    )


#                       sure  and moving  | unsure, still | unsure, moving | sure, still
CONFIDENCE = [0.90, 0.10, 0.12, 0.80]
REGIONAL = [0.50, 0.02, 0.01, 0.00]
GLOBAL = [0.20, 0.01, 0.30, 0.01]
# 1 * regional + 16 * global = 3.70, 0.18, 4.81, 0.16


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("confidence", "divergence", "expected"),
    [
        (0.5, 1.0, [False, True, False, False]),
        (0.5, None, [False, True, True, False]),
        (None, 1.0, [False, True, False, True]),
        (None, None, [True, True, True, True]),
        (0.10, 1.0, [False, False, False, False]),
        (0.5, 0.17, [False, False, False, False]),
        (Quantile(0.5), None, [False, True, True, False]),
        (None, Quantile(0.5), [False, True, False, True]),
        (Quantile(0.75), Quantile(0.75), [False, True, False, True]),
    ],
)
def test_a_token_is_redundant_where_both_halves_lie_below_their_thresholds(
    measure, confidence, divergence, expected
):
    condition = Condition(confidence=confidence, divergence=divergence, measure=measure)
    assert condition.holds(rows_of(CONFIDENCE, REGIONAL, GLOBAL, measure)).tolist() == expected


def test_the_divergence_is_regional_plus_sixteen_times_global():
    weighted = Condition().weighted_divergence(rows_of(CONFIDENCE, REGIONAL, GLOBAL))
    torch.testing.assert_close(weighted, torch.tensor([3.70, 0.18, 4.81, 0.16]))


def test_the_weights_of_both_scopes_are_options():
    weighted = Condition(regional_weight=2, global_weight=0).weighted_divergence(
        rows_of(CONFIDENCE, REGIONAL, GLOBAL)
    )
    torch.testing.assert_close(weighted, torch.tensor([1.0, 0.04, 0.02, 0.0]))


def test_the_condition_reads_only_its_own_measure():
    evidence = rows_of(CONFIDENCE, REGIONAL, GLOBAL, "released_divergence")
    assert not Condition(confidence=None, divergence=1.0, measure="jensen_shannon").holds(evidence).any()


def test_the_default_takes_both_medians():
    assert Condition().holds(rows_of(CONFIDENCE, REGIONAL, GLOBAL)).tolist() == [False, True, False, False]


def test_the_paper_condition_is_that_of_llava_15():
    assert (PAPER.confidence, PAPER.divergence, PAPER.measure) == (0.15, 2e-3, "released_divergence")


@pytest.mark.parametrize(
    ("share", "below"), [(0.1, 10), (0.29, 29), (0.5, 50), (0.57, 57), (0.99, 99), (1.0, 100)]
)
def test_a_quantile_has_its_share_of_the_evidence_below_it(share, below):
    values = torch.randperm(100, generator=torch.Generator().manual_seed(0)) / 100
    evidence = rows_of(values, torch.zeros(100), torch.zeros(100))
    assert Condition(confidence=Quantile(share), divergence=None).holds(evidence).sum() == below


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5])
def test_a_quantile_outside_its_range_is_refused(share):
    with pytest.raises(UsageError, match=r"\(0, 1\]"):
        Condition(confidence=Quantile(share))


def test_resolving_a_condition_leaves_values_that_hold_for_the_same_tokens():
    evidence = rows_of(CONFIDENCE, REGIONAL, GLOBAL)
    values = Condition().resolve(evidence)
    assert values.confidence == pytest.approx(0.8)
    assert values.divergence == pytest.approx(3.7)
    assert torch.equal(values.holds(evidence), Condition().holds(evidence))


def test_an_unknown_measure_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="jensen_shannon or released_divergence, got 'euclid'"):
        Condition(measure="euclid")


# Every image: 12 tokens of bulk, 3 of margin, 2 of noise. Margins look alike in all images, noise in two.
IMAGES, BULK, MARGIN, NOISE = 6, 12, 3, 2
CLUSTERING = Clustering(image_clusters=3, largest=4, clusters=2, images=4)
LOOSE = Condition(confidence=0.5, divergence=1.0)


@pytest.fixture
def made_up():
    """Evidence, and which of its tokens are margins: redundant, in small clusters, in many images."""
    generator = torch.Generator().manual_seed(0)
    bulk, margin, noise = torch.eye(16)[0] * 9, torch.eye(16)[1] * 9, torch.eye(16)[2] * 9
    embeds, image, kind = [], [], []
    for number in range(IMAGES):
        third = noise if number < 2 else -noise
        embeds += [bulk] * BULK + [margin] * MARGIN + [third] * NOISE
        image += [number] * (BULK + MARGIN + NOISE)
        kind += ["bulk"] * BULK + ["margin"] * MARGIN + [f"noise {number < 2}"] * NOISE
    count = len(kind)
    sure = torch.tensor([0.9 if name == "noise False" else 0.1 for name in kind])
    points = torch.stack(embeds) + 0.1 * torch.randn(count, 16, generator=generator)
    evidence = evidence_of(points, torch.tensor(image), (sure, torch.zeros(count), torch.zeros(count)))
    return evidence, torch.tensor([name == "margin" for name in kind])


def test_prototypes_are_redundant_tokens_of_small_clusters_found_in_many_images(made_up):
    evidence, is_margin = made_up
    book = Codebook.build(evidence, LOOSE, CLUSTERING)
    assert torch.equal(book.prototypes, evidence.embeds[is_margin])


def test_the_bulk_of_an_image_joins_where_large_clusters_are_allowed(made_up):
    evidence, _ = made_up
    book = Codebook.build(evidence, LOOSE, replace(CLUSTERING, largest=BULK, clusters=3))
    assert len(book.prototypes) == IMAGES * (BULK + MARGIN)


def test_a_token_that_is_not_redundant_is_no_prototype(made_up):
    evidence, is_margin = made_up
    sure = evidence.confidence.clone()
    first = int(is_margin.nonzero()[0])
    sure[first] = 0.9
    book = Codebook.build(replace(evidence, confidence=sure), LOOSE, CLUSTERING)
    is_margin[first] = False
    assert torch.equal(book.prototypes, evidence.embeds[is_margin])


def test_a_cluster_must_occur_in_more_images_than_the_number_given(made_up):
    evidence, is_margin = made_up
    assert (
        len(Codebook.build(evidence, LOOSE, replace(CLUSTERING, images=IMAGES - 1)).prototypes)
        == is_margin.sum()
    )
    with pytest.raises(UsageError, match="no prototype is left"):
        Codebook.build(evidence, LOOSE, replace(CLUSTERING, images=IMAGES))


def test_a_cluster_of_few_images_joins_where_few_are_asked_for(made_up):
    evidence, _ = made_up
    book = Codebook.build(evidence, LOOSE, replace(CLUSTERING, images=1))
    assert len(book.prototypes) == IMAGES * MARGIN + 2 * NOISE


def test_the_record_counts_every_step(made_up):
    evidence, _ = made_up
    assert Codebook.build(evidence, LOOSE, CLUSTERING).config["counts"] == {
        "pictures": 6,
        "tokens": 102,
        "redundant": 94,
        "redundant_in_small_clusters": 22,
        "prototypes": 18,
    }


def test_the_record_names_model_question_condition_and_thresholds(made_up):
    evidence, _ = made_up
    config = Codebook.build(evidence, Condition(confidence=Quantile(0.95), divergence=1.0), CLUSTERING).config
    assert (config["model"], config["fingerprint"], config["question"]) == ("made-up", "f00d", "what is it?")
    assert config["condition"]["confidence"] == {"quantile": 0.95}
    assert config["thresholds"]["confidence"] == pytest.approx(0.9)
    assert config["clustering"]["images"] == 4


@pytest.mark.parametrize("condition", [Condition(confidence=0.0), Condition(divergence=0.0)])
def test_a_condition_that_holds_nowhere_is_refused_with_the_counts(made_up, condition):
    with pytest.raises(UsageError, match="102 tokens, 0 redundant"):
        Codebook.build(made_up[0], condition, CLUSTERING)


def test_evidence_without_a_token_is_refused():
    empty = evidence_of(torch.zeros(0, 16), torch.zeros(0, dtype=torch.long), [torch.zeros(0)] * 3)
    with pytest.raises(UsageError, match="no prototype is left"):
        Codebook.build(empty)


def test_the_same_evidence_gives_the_same_files_byte_for_byte(made_up, tmp_path):
    for name in ("one", "two"):
        Codebook.build(made_up[0], LOOSE, CLUSTERING).save_pretrained(tmp_path / name)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_other_evidence_gives_other_files(made_up, tmp_path):
    evidence, _ = made_up
    for name, found in (("one", evidence), ("two", replace(evidence, embeds=evidence.embeds * 2))):
        Codebook.build(found, LOOSE, CLUSTERING).save_pretrained(tmp_path / name)
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert one["codebook.safetensors"] != two["codebook.safetensors"]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def book():
    prototypes = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    return Codebook(prototypes, {"format": 1, "model": "made-up", "fingerprint": "f00d"})


def test_redundancy_is_one_on_the_prototypes(book):
    torch.testing.assert_close(book.redundancy(book.prototypes), torch.ones(5))


def test_redundancy_is_the_highest_cosine_whatever_the_length(book):
    embeds = 3 * torch.randn(7, 16, generator=torch.Generator().manual_seed(2))
    cosine = [[float(torch.cosine_similarity(a, b, dim=0)) for b in book.prototypes] for a in embeds]
    torch.testing.assert_close(book.redundancy(embeds), torch.tensor([max(row) for row in cosine]))


def test_half_precision_is_compared_in_single_precision(book):
    embeds = torch.randn(7, 16, generator=torch.Generator().manual_seed(3)).bfloat16()
    half = replace(book, prototypes=book.prototypes.half())
    assert half.similarity(embeds).dtype == torch.float32
    torch.testing.assert_close(half.similarity(embeds), book.similarity(embeds.float()), atol=1e-3, rtol=0)


def test_tokens_of_another_width_are_refused_with_both_widths(book):
    with pytest.raises(
        UsageError, match=r"codebook is for D=16 \(made-up\), this model has D=24; build one with"
    ):
        book.similarity(torch.ones(3, 24))


def test_a_model_of_another_width_is_refused(book, tiny):
    with pytest.raises(UsageError, match=r"D=16 .* D=32"):
        book.check(tiny)


def wide(fingerprint):
    return Codebook(torch.randn(3, 32), {"format": 1, "model": "another", "fingerprint": fingerprint})


def test_a_model_with_another_fingerprint_is_refused_by_both_names(tiny):
    with pytest.raises(
        UsageError,
        match=rf"built for another \(fingerprint f00d\), this is {tiny.name} \({tiny.fingerprint}\)",
    ):
        wide("f00d").check(tiny)


def test_a_book_of_the_model_is_accepted(tiny):
    wide(tiny.fingerprint).check(tiny)


def test_an_imported_book_is_accepted_by_its_width(tiny):
    wide(None).check(tiny)
