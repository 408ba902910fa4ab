"""What prototypes were in pictures, against pictures whose every token has a color of its own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from wordsight.errors import FileError, MediaError, ModelError
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.origins import SIDE, WORDS, find_origins
from wordsight.redundancy.probe import QUESTION, probe_tokens

GRID = 12
BLUES = (40, 200)  # of the two pictures


def color(token, blue):
    return [token // GRID * 20, token % GRID * 20, blue]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Two pictures, and a file between them that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, blue in zip("ac", BLUES, strict=True):
        cells = np.array([color(token, blue) for token in range(GRID**2)], np.uint8).reshape(GRID, GRID, 3)
        Image.fromarray(cells.repeat(16, 0).repeat(16, 1)).save(folder / f"{name}.png")
    (folder / "b.png").write_bytes(b"no picture")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def places():
    """The picture and token that each prototype is; one token is two prototypes."""
    return [(0, 143), (1, 7), (0, 7), (1, 100), (1, 7)]


@pytest.fixture(scope="module")
def book(tiny, paths, places):
    embeds = [tiny.encode(paths[number], QUESTION).visual.embeds for number in (0, 2)]
    rows = torch.stack([2.5 * embeds[picture][token] for picture, token in places])
    return Codebook(rows, {"format": 3, "model": "tiny", "fingerprint": tiny.fingerprint})


@pytest.fixture(scope="module")
def shown(tiny, book, paths):
    return book.with_origins(tiny, paths)


def test_a_patch_is_what_the_token_shows_and_nothing_around_it(shown, places):
    for patch, (picture, token) in zip(shown.origins.patches, places, strict=True):
        assert patch.shape == (SIDE, SIDE, 3)
        assert (patch == torch.tensor(color(token, BLUES[picture]), dtype=torch.uint8)).all()
    assert shown.config["patches"] == {
        "pictures": 2, "side": SIDE, "least_cosine": pytest.approx(1, abs=1e-6),
    }  # fmt: skip


def test_the_words_are_those_of_the_token_among_all_of_its_picture(tiny, shown, paths, places):
    said = [probe_tokens(tiny, tiny.encode(paths[number], QUESTION)) for number in (0, 2)]
    for row, (picture, token) in enumerate(places):
        assert shown.origins.words[row].tolist() == said[picture].tokens[token, :WORDS].tolist()
        chances = said[picture].probabilities[token, :WORDS].tolist()
        assert shown.origins.word_probabilities[row].tolist() == pytest.approx(chances, rel=1e-4)
        assert shown.origins.says_nothing[row] == said[picture].says_nothing[token]


def test_pictures_that_are_not_the_books_show_the_nearest_token(tiny, book, paths):
    _, cosine, _ = find_origins(tiny, book.prototypes, paths[2:])
    unit = torch.nn.functional.normalize
    near = unit(book.prototypes, dim=-1) @ unit(tiny.encode(paths[2], QUESTION).visual.embeds, dim=-1).T
    assert cosine.tolist() == pytest.approx(near.amax(-1).tolist(), abs=1e-6)
    assert cosine.min() < 0.99999


def test_a_book_with_patches_is_the_same_book_and_the_same_file_every_time(
    tiny, book, shown, paths, tmp_path
):
    assert shown.digest == book.digest
    for name, each in (("one", shown), ("two", book.with_origins(tiny, paths)), ("none", book)):
        each.save_pretrained(tmp_path / name)
    one, two = ((tmp_path / name / "codebook.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
    read = Codebook.from_pretrained(tmp_path / "one")
    assert read.config == shown.config
    for name, tensor in shown.origins.tensors().items():
        assert torch.equal(getattr(read.origins, name), tensor)
    assert Codebook.from_pretrained(tmp_path / "none").origins is None


def test_a_compact_book_keeps_the_patches_of_those_that_stay(shown, places):
    small = shown.compact(1.0)
    stay = [0, 1, 2, 3]  # the last is the second again
    assert torch.equal(small.prototypes, shown.prototypes[stay])
    assert torch.equal(small.origins.patches, shown.origins.patches[stay])
    assert torch.equal(small.origins.words, shown.origins.words[stay])


def test_a_book_without_its_patches_says_nothing_of_pictures(book, shown):
    assert shown.without_origins() == book


def test_patches_of_other_prototypes_are_refused(shown, tmp_path):
    replace(shown, origins=shown.origins.take(torch.arange(3))).save_pretrained(tmp_path / "book")
    with pytest.raises(
        FileError, match=r"patches have the shape \(3, 16, 16, 3\), expected \(5, 16, 16, 3\)"
    ):
        Codebook.from_pretrained(tmp_path / "book")


def test_where_no_picture_can_be_read_there_are_no_patches(tiny, book, paths):
    with pytest.raises(MediaError, match="none of 1 picture can be read"):
        book.with_origins(tiny, paths[1:2])


def test_a_model_without_a_picture_map_is_refused_before_the_work(tiny, book, monkeypatch):
    monkeypatch.setattr(type(tiny.family), "has_picture_map", False)
    with pytest.raises(ModelError, match="no picture map"):
        book.with_origins(tiny, ["no such file"])


def test_the_embedded_book_shows_what_each_of_its_prototypes_was():
    book = Codebook.from_pretrained("demo")
    assert len(book.origins.patches) == len(book.prototypes) == 383
    assert book.config["patches"]["least_cosine"] > 0.99999
