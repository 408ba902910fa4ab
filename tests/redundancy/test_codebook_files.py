"""Books on disk: what is saved comes back, damage and pickles are refused, released files are imported."""

import json
import pickle
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from wordsight._utils.artifacts import sealed, tensors_digest
from wordsight.errors import FileError, UsageError
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


WRONG = {
    "no numbers": torch.full((3, 16), torch.nan),
    "one infinite": torch.eye(3, 16).index_fill(0, torch.tensor([1]), torch.inf),
    "all zero": torch.zeros(3, 16),
    "one zero": torch.eye(3, 16) * torch.tensor([[1.0], [1.0], [0.0]]),
    "too long": torch.full((3, 16), 1e38),
    "too short": torch.full((3, 16), 1e-38),
    "too long in double precision": torch.full((3, 16), 1e300, dtype=torch.double),
    "whole": torch.ones(3, 16, dtype=torch.long),
    "true": torch.ones(3, 16, dtype=torch.bool),
    "complex": torch.ones(3, 16, dtype=torch.complex64),
    "flat": torch.ones(16),
    "deep": torch.ones(2, 3, 16),
    "a number": torch.tensor(1.0),
    "no rows": torch.zeros(0, 16),
    "no width": torch.zeros(3, 0),
}
wrong_prototypes = pytest.mark.parametrize("prototypes", WRONG.values(), ids=WRONG)


@wrong_prototypes
@pytest.mark.parametrize("number", [1, 2, 3])
def test_prototypes_that_are_none_are_refused_in_every_format(book, tmp_path, number, prototypes):
    root = tmp_path / "book"
    book.save_pretrained(root)
    save_file({"prototypes": prototypes}, root / "codebook.safetensors")
    change_config(root, format=number, prototypes_sha256=tensors_digest({"prototypes": prototypes}))
    with pytest.raises(FileError, match=r"codebook\.safetensors cannot be used .*: take another copy"):
        Codebook.from_pretrained(root)


@wrong_prototypes
def test_prototypes_that_are_none_are_not_saved(book, tmp_path, prototypes):
    with pytest.raises(UsageError, match=r"cannot save the codebook .*prototype"):
        replace(book, prototypes=prototypes).save_pretrained(tmp_path / "book")
    assert list(tmp_path.iterdir()) == []


@wrong_prototypes
def test_prototypes_that_are_none_are_not_imported(tmp_path, prototypes):
    torch.save(prototypes, tmp_path / "released.pt")
    with pytest.raises(FileError, match=r"does not hold prototypes: expected one float tensor \(M, D\)"):
        import_released(tmp_path / "released.pt", "m")


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16, torch.float32, torch.float64])
def test_prototypes_of_every_precision_come_back_as_they_were(book, tmp_path, dtype):
    replace(book, prototypes=book.prototypes.to(dtype)).save_pretrained(tmp_path / "book")
    back = Codebook.from_pretrained(tmp_path / "book").prototypes
    assert back.dtype == dtype
    assert torch.equal(back, book.prototypes.to(dtype))


def state(root):
    """All that a book says, None if it is refused; whatever else is raised is a failure."""
    try:
        found = Codebook.from_pretrained(root)
    except FileError:
        return None
    return tensors_digest({"prototypes": found.prototypes}), found.config


@pytest.mark.parametrize("name", ["codebook.safetensors", "config.json"])
def test_damage_is_noticed_wherever_it_is(book, tmp_path, damages, name):
    root = tmp_path / "book"
    book.save_pretrained(root)
    content, before, refused = (root / name).read_bytes(), state(root), 0
    for damaged in damages(content):
        (root / name).write_bytes(damaged)
        found = state(root)
        assert found in (None, before)
        refused += found is None
    assert refused > 90


def test_prototypes_of_another_book_are_noticed(book, tmp_path):
    book.save_pretrained(tmp_path / "book")
    replace(book, prototypes=book.prototypes.flip(0)).save_pretrained(tmp_path / "other")
    for name in ("codebook.safetensors", "config.json"):
        mine, theirs = (tmp_path / folder / name for folder in ("book", "other"))
        content = mine.read_bytes()
        mine.write_bytes(theirs.read_bytes())
        with pytest.raises(FileError, match=r"its prototypes are not those of config\.json"):
            Codebook.from_pretrained(tmp_path / "book")
        mine.write_bytes(content)
    assert state(tmp_path / "book")


def test_an_edited_config_is_refused(book, tmp_path):
    book.save_pretrained(tmp_path / "book")
    config = json.loads((tmp_path / "book" / "config.json").read_text())
    (tmp_path / "book" / "config.json").write_text(json.dumps(config | {"model": "another"}))
    with pytest.raises(FileError, match="damaged or edited"):
        Codebook.from_pretrained(tmp_path / "book")


def test_a_config_of_this_format_needs_the_digest_of_its_prototypes(book, tmp_path):
    book.save_pretrained(tmp_path / "book")
    config = json.loads((tmp_path / "book" / "config.json").read_text())
    del config["digest"], config["prototypes_sha256"]
    (tmp_path / "book" / "config.json").write_text(json.dumps(sealed(config)))
    with pytest.raises(FileError, match="its prototypes are not those"):
        Codebook.from_pretrained(tmp_path / "book")


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
    shipped = Codebook.from_pretrained("demo").config
    assert (shipped["condition"]["signal"], shipped["clustering"]["neighbors"]) == (
        "blind_divergence",
        5,
    )
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
    with pytest.raises(UsageError, match="there is no such file"):
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
