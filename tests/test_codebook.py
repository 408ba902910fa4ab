"""Conditions worked out by hand, books of made-up evidence, and what is refused: damage, pickles, misfits."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from wordsight.codebook import PAPER, Clustering, Codebook, Condition, Quantile, import_released
from wordsight.errors import UsageError
from wordsight.evidence import Evidence

RELEASED = Path(__file__).parents[1] / ".." / "shared" / "released_codebooks"
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


def test_a_saved_book_comes_back_the_same(book, tmp_path):
    book.save_pretrained(tmp_path / "book")
    back = Codebook.from_pretrained(tmp_path / "book")
    assert torch.equal(back.prototypes, book.prototypes)
    assert back.config == book.config


def test_a_book_consists_of_two_files(book, tmp_path):
    book.save_pretrained(tmp_path / "book")
    assert sorted(files(tmp_path / "book")) == ["codebook.safetensors", "config.json"]


def test_saving_again_replaces_the_book(book, tmp_path):
    book.save_pretrained(tmp_path / "book")
    replace(book, prototypes=book.prototypes[:2]).save_pretrained(tmp_path / "book")
    assert len(Codebook.from_pretrained(tmp_path / "book").prototypes) == 2


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


class Trap:
    """An object whose unpickling leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def cut_short(root):
    path = root / "codebook.safetensors"
    path.write_bytes(path.read_bytes()[:-20])


def emptied(root):
    (root / "codebook.safetensors").write_bytes(b"")


def pickled(root):
    (root / "codebook.safetensors").write_bytes(pickle.dumps(Trap(root.parent / "executed")))


def without_prototypes(root):
    save_file({"weights": torch.ones(2, 16)}, root / "codebook.safetensors")


def without_tensors(root):
    (root / "codebook.safetensors").unlink()


def without_config(root):
    (root / "config.json").unlink()


def with_broken_config(root):
    (root / "config.json").write_text('{"format": 1,')


def with_a_listing_as_config(root):
    (root / "config.json").write_text("[]")


def with_an_empty_config(root):
    (root / "config.json").write_text("{}")


def with_flat_prototypes(root):
    save_file({"prototypes": torch.ones(16)}, root / "codebook.safetensors")


@pytest.mark.parametrize(
    "damage",
    [
        cut_short,
        emptied,
        pickled,
        without_prototypes,
        without_tensors,
        without_config,
        with_broken_config,
        with_a_listing_as_config,
        with_an_empty_config,
        with_flat_prototypes,
    ],
)
def test_a_damaged_book_is_refused_with_its_place(book, tmp_path, damage):
    book.save_pretrained(tmp_path / "book")
    damage(tmp_path / "book")
    with pytest.raises(UsageError, match=str(tmp_path / "book")):
        Codebook.from_pretrained(tmp_path / "book")


def test_a_pickle_that_poses_as_a_book_is_not_executed(book, tmp_path):
    book.save_pretrained(tmp_path / "book")
    pickled(tmp_path / "book")
    with pytest.raises(UsageError):
        Codebook.from_pretrained(tmp_path / "book")
    assert not (tmp_path / "executed").exists()


def test_no_folder_at_all_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no codebook in"):
        Codebook.from_pretrained(tmp_path / "nowhere")


def test_a_released_file_given_as_a_folder_is_pointed_to_the_import(tmp_path):
    torch.save(torch.ones(2, 16), tmp_path / "book.pt")
    with pytest.raises(UsageError, match=r"is a file; expected a folder .* `wordsight codebook import`"):
        Codebook.from_pretrained(tmp_path / "book.pt")


def test_a_released_tensor_is_imported(tmp_path):
    tensor = torch.randn(4, 16).half().requires_grad_()
    torch.save(tensor, tmp_path / "released.pt")
    book = import_released(tmp_path / "released.pt", "llava-1.5-7b")
    assert torch.equal(book.prototypes, tensor.detach())
    assert not book.prototypes.requires_grad
    assert book.config["model"] == "llava-1.5-7b"
    assert book.config["imported_from"] == "released.pt"


def test_an_imported_book_can_be_saved_and_loaded(tmp_path):
    torch.save(torch.randn(4, 16).half(), tmp_path / "released.pt")
    book = import_released(tmp_path / "released.pt", "llava-1.5-7b")
    book.save_pretrained(tmp_path / "book")
    assert torch.equal(Codebook.from_pretrained(tmp_path / "book").prototypes, book.prototypes)


def test_a_pickle_with_an_object_is_refused_and_not_executed(tmp_path):
    torch.save(Trap(tmp_path / "executed"), tmp_path / "released.pt")
    with pytest.raises(UsageError, match="one tensor and nothing else"):
        import_released(tmp_path / "released.pt", "m")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "content",
    [
        torch.ones(4),
        torch.ones(2, 3, 4),
        torch.ones(2, 3, dtype=torch.long),
        {"prototypes": torch.ones(2, 3)},
    ],
)
def test_a_file_without_one_float_matrix_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "released.pt")
    with pytest.raises(UsageError, match=r"expected one float tensor \(M, D\)"):
        import_released(tmp_path / "released.pt", "m")


@pytest.mark.parametrize("content", [b"", b"no pickle", json.dumps([1, 2]).encode()])
def test_a_file_that_torch_cannot_read_is_refused(tmp_path, content):
    (tmp_path / "released.pt").write_bytes(content)
    with pytest.raises(UsageError, match="cannot read"):
        import_released(tmp_path / "released.pt", "m")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        import_released(tmp_path / "nowhere.pt", "m")


@pytest.mark.skipif(
    not RELEASED.is_dir(), reason="runs where the authors' codebooks lie in ../shared/released_codebooks"
)
@pytest.mark.parametrize(
    ("name", "shape"), [("llava-v1.5-7b", (454, 4096)), ("llava-onevision-qwen2-7b-ov", (45, 3584))]
)
def test_the_released_books_import_and_know_their_own_prototypes(name, shape):
    book = import_released(RELEASED / f"{name}.pt", name)
    assert tuple(book.prototypes.shape) == shape
    torch.testing.assert_close(book.redundancy(book.prototypes), torch.ones(shape[0]), atol=1e-5, rtol=0)
