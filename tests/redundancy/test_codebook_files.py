"""Books on disk: what is saved comes back, damage and pickles are refused, released files are imported."""

import json
import pickle
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from wordsight import demo
from wordsight._utils.artifacts import sealed
from wordsight.errors import UsageError
from wordsight.redundancy.build import Clustering
from wordsight.redundancy.codebook import Codebook, import_released
from wordsight.redundancy.criteria import Condition

RELEASED = Path(__file__).parents[2] / ".." / "shared" / "released_codebooks"


@pytest.fixture
def book():
    prototypes = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    return Codebook(prototypes, {"format": 3, "model": "made-up", "fingerprint": "f00d"})


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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


def test_saving_into_a_folder_with_other_files_deletes_none_of_them(book, tmp_path):
    (tmp_path / "thesis.txt").write_text("three years of work")
    with suppress(UsageError):
        book.save_pretrained(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "three years of work"


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


def with_prototypes_that_are_no_numbers(root):
    save_file({"prototypes": torch.full((2, 16), torch.nan)}, root / "codebook.safetensors")


def without_config(root):
    (root / "config.json").unlink()


def with_broken_config(root):
    (root / "config.json").write_text('{"format": 2,')


def with_a_listing_as_config(root):
    (root / "config.json").write_text("[]")


def with_an_empty_config(root):
    (root / "config.json").write_text("{}")


def with_a_config_of_another_version(root):
    change_config(root, format=4)


def with_counts_that_are_no_numbers(root):
    change_config(root, counts={"pictures": "many"})


def with_a_condition_of_an_unknown_signal(root):
    condition = Condition().as_json() | {"signal": "loudness"}
    change_config(root, condition=condition)


def change_config(root, **changes):
    """A config as another program might write it: its digest is right."""
    config = json.loads((root / "config.json").read_text())
    del config["digest"]
    (root / "config.json").write_text(json.dumps(sealed(config | changes)))


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
        with_a_config_of_another_version,
        with_counts_that_are_no_numbers,
        with_a_condition_of_an_unknown_signal,
        with_flat_prototypes,
        with_prototypes_that_are_no_numbers,
    ],
)
def test_a_damaged_book_is_refused_with_its_place(book, tmp_path, damage):
    book.save_pretrained(tmp_path / "book")
    damage(tmp_path / "book")
    with pytest.raises(UsageError, match=str(tmp_path / "book")):
        Codebook.from_pretrained(tmp_path / "book")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (with_a_config_of_another_version, "has format 4, .* reads 1 and 2 and 3"),
        (with_counts_that_are_no_numbers, r"counts\.pictures"),
        (with_a_condition_of_an_unknown_signal, "signal"),
    ],
)
def test_a_config_is_refused_with_what_is_wrong_in_it(book, tmp_path, damage, told):
    book.save_pretrained(tmp_path / "book")
    damage(tmp_path / "book")
    with pytest.raises(UsageError, match=rf"book/config\.json .*{told}"):
        Codebook.from_pretrained(tmp_path / "book")


def test_a_book_of_format_1_is_read_with_its_fields_called_as_today(book, tmp_path):
    book.save_pretrained(tmp_path / "book")
    today = Condition(signal="certainty").as_json()
    earlier = {"says" if name == "signal" else name: value for name, value in today.items()}
    clustering = Clustering(neighbors=7).as_json()
    before = {"neighbours" if name == "neighbors" else name: value for name, value in clustering.items()}
    change_config(
        tmp_path / "book",
        format=1,
        condition=earlier,
        thresholds=earlier | {"confidence": 0.5},
        clustering=before,
    )
    config = Codebook.from_pretrained(tmp_path / "book").config
    assert config["format"] == 3
    assert config["condition"] == today
    assert config["thresholds"] == today | {"confidence": 0.5}
    assert config["clustering"] == clustering


def test_the_committed_books_are_read():
    assert json.loads((demo.CODEBOOK / "config.json").read_text())["format"] == 1
    shipped = Codebook.from_pretrained("demo").config
    assert (shipped["condition"]["signal"], shipped["clustering"]["neighbors"]) == ("confidence", 5)
    control = Codebook.from_pretrained(Path(__file__).parents[2] / "benchmarks" / "control-codebook").config
    assert control["condition"] == "none: drawn at random"


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
