"""Books of made-up evidence, random ones as their control, and the models a book is not for."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from wordsight.errors import UsageError
from wordsight.media import picture_files
from wordsight.media.images import read_picture
from wordsight.redundancy.build import Clustering, build_codebook, random_codebook
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.criteria import Condition, Quantile

# Every image: 12 tokens of bulk, 3 of margin, 2 of noise. Margins look alike in all images, noise in two.
IMAGES, BULK, MARGIN, NOISE = 6, 12, 3, 2
CLUSTERING = Clustering(image_clusters=3, largest=4, clusters=2, images=4)
LOOSE = Condition(confidence=0.5, divergence=1.0)


@pytest.fixture
def made_up(evidence_of):
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
    still = {f"{scope}/jensen_shannon": torch.zeros(count) for scope in ("regional", "global")}
    evidence = evidence_of({"confidence": sure, **still}, points, torch.tensor(image))
    return evidence, torch.tensor([name == "margin" for name in kind])


def test_prototypes_are_redundant_tokens_of_small_clusters_found_in_many_images(made_up):
    evidence, is_margin = made_up
    book = build_codebook(evidence, LOOSE, CLUSTERING)
    assert torch.equal(book.prototypes, evidence.embeds[is_margin])


def test_the_bulk_of_an_image_joins_where_large_clusters_are_allowed(made_up):
    evidence, _ = made_up
    book = build_codebook(evidence, LOOSE, replace(CLUSTERING, largest=BULK, clusters=3))
    assert len(book.prototypes) == IMAGES * (BULK + MARGIN)


def test_a_token_that_is_not_redundant_is_no_prototype(made_up):
    evidence, is_margin = made_up
    sure = evidence.signals["confidence"].clone()
    first = int(is_margin.nonzero()[0])
    sure[first] = 0.9
    signals = evidence.signals | {"confidence": sure}
    book = build_codebook(replace(evidence, signals=signals), LOOSE, CLUSTERING)
    is_margin[first] = False
    assert torch.equal(book.prototypes, evidence.embeds[is_margin])


def test_a_cluster_must_occur_in_more_images_than_the_number_given(made_up):
    evidence, is_margin = made_up
    assert (
        len(build_codebook(evidence, LOOSE, replace(CLUSTERING, images=IMAGES - 1)).prototypes)
        == is_margin.sum()
    )
    with pytest.raises(UsageError, match="6 pictures cannot make a codebook"):
        build_codebook(evidence, LOOSE, replace(CLUSTERING, images=IMAGES))


def test_a_cluster_of_few_images_joins_where_few_are_asked_for(made_up):
    evidence, _ = made_up
    book = build_codebook(evidence, LOOSE, replace(CLUSTERING, images=1))
    assert len(book.prototypes) == IMAGES * MARGIN + 2 * NOISE


def test_the_record_counts_every_step(made_up):
    evidence, _ = made_up
    assert build_codebook(evidence, LOOSE, CLUSTERING).config["counts"] == {
        "pictures": 6,
        "tokens": 102,
        "redundant": 94,
        "redundant_in_small_clusters": 22,
        "prototypes": 18,
    }


def test_the_record_names_model_questions_condition_and_thresholds(made_up):
    evidence, _ = made_up
    config = build_codebook(evidence, Condition(confidence=Quantile(0.95), divergence=1.0), CLUSTERING).config
    assert (config["model"], config["fingerprint"]) == ("made-up", "f00d")
    assert config["questions"] == ["what is it?", "what color is it?"]
    assert config["condition"]["confidence"] == {"quantile": 0.95}
    assert config["thresholds"]["confidence"] == pytest.approx(0.9)
    assert config["clustering"]["images"] == 4


@pytest.mark.parametrize("condition", [Condition(confidence=1e-9), Condition(divergence=1e-9)])
def test_a_condition_that_holds_nowhere_is_refused_with_the_counts(made_up, condition):
    with pytest.raises(UsageError, match="102 tokens, 0 redundant"):
        build_codebook(made_up[0], condition, CLUSTERING)


def test_a_book_without_a_prototype_tells_the_option_that_there_is(made_up):
    with pytest.raises(UsageError, match="lower --min-images"):
        build_codebook(made_up[0], LOOSE, replace(CLUSTERING, images=IMAGES))


def test_what_to_change_depends_on_the_step_that_left_none(made_up):
    evidence, _ = made_up
    for condition, clustering, remedy in (
        (Condition(confidence=1e-9), CLUSTERING, "raise the thresholds of the condition, --confidence"),
        (LOOSE, replace(CLUSTERING, image_clusters=1, largest=1), "raise --largest, or the thresholds"),
        (LOOSE, replace(CLUSTERING, clusters=60, images=5), "give more pictures, lower --min-images"),
    ):
        with pytest.raises(UsageError, match=f"no prototype is left .*; {remedy}"):
            build_codebook(evidence, condition, clustering)


def test_only_as_many_pictures_are_opened_as_are_needed(tmp_path, monkeypatch):
    pictures = [tmp_path / f"{number}.png" for number in range(9)]
    for number, path in enumerate(pictures):
        path.write_text("no picture") if number in (1, 2) else Image.new("RGB", (9, 9)).save(path)
    opened = []

    def noted(file, name):
        opened.append(Path(name))
        return read_picture(file, name)

    monkeypatch.setattr(picture_files, "read_picture", noted)
    Clustering(images=2).check_readable(pictures)
    assert opened == pictures[:5]
    with pytest.raises(
        UsageError,
        match=r"^2 of 9 pictures cannot be read, .*; the other 7 pictures cannot .* give 8 pictures or more",
    ):
        Clustering(images=7).check_readable(pictures)


def test_evidence_without_a_token_is_refused(evidence_of):
    with pytest.raises(UsageError, match="0 pictures cannot make a codebook"):
        build_codebook(evidence_of({"confidence": torch.zeros(0)}))


def test_without_a_condition_both_medians_are_taken(made_up):
    evidence, _ = made_up
    moving = torch.arange(102) / 102
    signals = evidence.signals | {"confidence": moving, "global/jensen_shannon": moving.flip(0)}
    with pytest.raises(UsageError, match="102 tokens, 0 redundant"):
        build_codebook(replace(evidence, signals=signals), clustering=CLUSTERING)


def test_the_same_evidence_gives_the_same_files_byte_for_byte(made_up, tmp_path):
    for name in ("one", "two"):
        build_codebook(made_up[0], LOOSE, CLUSTERING).save_pretrained(tmp_path / name)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def rows_in(book, evidence):
    """Which rows of the evidence the prototypes are."""
    return [int((evidence.embeds == prototype).all(-1).nonzero()[0, 0]) for prototype in book.prototypes]


@pytest.mark.parametrize("count", [1, 10, 102])
def test_a_random_book_has_as_many_tokens_as_it_is_told_each_once(made_up, count):
    evidence, _ = made_up
    rows = rows_in(random_codebook(evidence, count), evidence)
    assert len(rows) == len(set(rows)) == count


def test_a_random_book_has_no_more_tokens_than_there_are(made_up):
    assert len(random_codebook(made_up[0], 1000).prototypes) == 102


def test_a_random_book_is_drawn_by_its_seed(made_up):
    once, again, other = (random_codebook(made_up[0], 10, seed) for seed in (3, 3, 4))
    assert torch.equal(once.prototypes, again.prototypes)
    assert not torch.equal(once.prototypes, other.prototypes)


def test_a_random_book_draws_every_token_alike(made_up):
    evidence, _ = made_up
    drawn = torch.zeros(102)
    for seed in range(200):
        drawn[rows_in(random_codebook(evidence, 51, seed), evidence)] += 1
    # 100 expected, with a standard deviation of 7; no token is five of them away.
    assert drawn.min() > 65
    assert drawn.max() < 135


def test_a_random_book_says_that_it_is_one_and_for_which_model(made_up):
    config = random_codebook(made_up[0], 10).config
    assert (config["model"], config["fingerprint"]) == ("made-up", "f00d")
    assert "random" in config["condition"]
    assert config["counts"]["prototypes"] == 10


def test_other_evidence_gives_other_files(made_up, tmp_path):
    evidence, _ = made_up
    for name, found in (("one", evidence), ("two", replace(evidence, embeds=evidence.embeds * 2))):
        build_codebook(found, LOOSE, CLUSTERING).save_pretrained(tmp_path / name)
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert one["codebook.safetensors"] != two["codebook.safetensors"]


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("image_clusters", 0, "a whole number from 1 on, got 0"),
        ("largest", 2.5, "a whole number from 1 on, got 2.5"),
        ("clusters", -1, "a whole number from 1 on, got -1"),
        ("images", -1, "a whole number from 0 on, got -1"),
        ("neighbors", 0, "a whole number from 1 on, got 0"),
        ("scale", "max", "'mean' or 'sqrt_dim', got 'max'"),
    ],
)
def test_clustering_refuses_what_is_no_setting(option, value, expected):
    with pytest.raises(UsageError, match=f"{option} must be {expected}"):
        Clustering(**{option: value})


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def book():
    prototypes = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    return Codebook(prototypes, {"format": 2, "model": "made-up", "fingerprint": "f00d"})


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
    return Codebook(torch.randn(3, 32), {"format": 2, "model": "another", "fingerprint": fingerprint})


def test_a_model_with_another_fingerprint_is_refused_by_both_names(tiny):
    with pytest.raises(
        UsageError,
        match=rf"built for another \(fingerprint f00d\), this is {tiny.name} \({tiny.fingerprint}\)",
    ):
        wide("f00d").check(tiny)


@pytest.mark.parametrize(
    ("made_for", "remedy"), [("another", "codebook=demo is its own"), ("demo", "build one")]
)
def test_a_model_is_told_of_its_own_book_unless_that_is_what_does_not_fit(tiny, made_for, remedy):
    book = replace(wide("f00d"), config={**wide("f00d").config, "model": made_for})
    with pytest.raises(UsageError, match=f"mean nothing in another model; {remedy}"):
        book.check(replace(tiny, name="demo"))


def test_a_book_of_the_model_is_accepted(tiny):
    wide(tiny.fingerprint).check(tiny)


def test_an_imported_book_is_accepted_by_its_width(tiny):
    wide(None).check(tiny)
