"""Files that are read again: what was written comes back, and whatever happened to it since is a sentence."""

import json
import shutil

import pytest
import torch
from typing_extensions import TypedDict

from wordsight._utils.artifacts import (
    Artifact,
    differences,
    read_metadata,
    read_tensors,
    sealed,
    tensors_digest,
    write_tensors,
)
from wordsight._utils.records import json_text, parse_json
from wordsight.errors import FileError, WordsightError


class Cell(TypedDict):
    """What the tests keep."""

    format: int
    name: str
    scores: list[float]


def from_1(record):
    return {"name": record["title"], "scores": record["scores"]}


CELL = Artifact(
    name="a cell",
    record=Cell,
    format=3,
    remedy="delete it",
    earlier={None: from_1, 1: from_1, 2: dict},
)
RECORD = {"format": 3, "name": "café", "scores": [0.1, 1e-9, 3.0]}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "cell.json"
    path.write_text(CELL.text(RECORD), "utf-8")
    return path


def read_or_refuse(read):
    """What a file is read as, None if it is refused; whatever else is raised is a failure."""
    try:
        return read()
    except FileError:
        return None


def flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_a_record_comes_back_as_it_was(path):
    assert CELL.read(path) == RECORD


def test_the_layout_of_json_is_not_its_content(path):
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert CELL.read(path) == RECORD


def test_a_flipped_bit_is_noticed_or_changes_nothing(path):
    content = path.read_bytes()
    refused = 0
    for bit in range(0, 8 * len(content), 5):
        path.write_bytes(flipped(content, bit))
        found = read_or_refuse(lambda: CELL.read(path))
        assert found in (None, RECORD)
        refused += found is None
    assert refused > 1.4 * len(content)


def test_every_cut_is_noticed(path):
    content = path.read_bytes()
    for length in range(len(content) - 2):  # all but the last line break
        path.write_bytes(content[:length])
        with pytest.raises(FileError, match=r"cell\.json .*: delete it"):
            CELL.read(path)


@pytest.mark.parametrize(
    "change", [{"name": "b"}, {"scores": [0.1]}, {"more": 1}, {"digest": None}, {"digest": "0"}]
)
def test_edited_content_is_refused(path, change):
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FileError, match="damaged or edited"):
        CELL.read(path)


def test_a_file_of_this_format_needs_a_digest(path):
    path.write_text(json.dumps(RECORD))
    with pytest.raises(FileError, match="damaged or edited"):
        CELL.read(path)


@pytest.mark.parametrize("number", [None, 1, 2])
def test_earlier_formats_are_read_without_a_digest(path, number):
    earlier = {"format": number, "title": "a", "name": "a", "scores": [1]}
    path.write_text(json.dumps({key: value for key, value in earlier.items() if value is not None}))
    assert CELL.read(path) == {"format": 3, "name": "a", "scores": [1.0]}


def test_a_digest_in_an_earlier_format_must_be_right(path):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(FileError, match="damaged or edited"):
        CELL.read(path)


@pytest.mark.parametrize("number", [0, 4, -1, 3.0, True, "3", [3], {}, 10**30])
def test_other_formats_are_refused_by_their_number(path, number):
    path.write_text(json.dumps(sealed(RECORD | {"format": number})))
    with pytest.raises(FileError, match=r"has format .*, and this version of wordsight reads 1 and 2 and 3"):
        CELL.read(path)


@pytest.mark.parametrize("change", [{"name": 3}, {"scores": "many"}, {"scores": [None]}])
def test_a_sealed_record_of_other_types_is_refused(path, change):
    path.write_text(CELL.text(RECORD | change))
    with pytest.raises(FileError, match=rf"damaged or of another version: {next(iter(change))}.*: delete it"):
        CELL.read(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"3", b"null", b"\xff", b"{", b"[" * 10**5, b'{"a": ' * 10**5, b"9" * 5000]
    + [b'{"format": 3, "scores": [%s]}' % number for number in (b"NaN", b"-Infinity", b"1e999")],
    ids=range(12),
)
def test_what_is_no_record_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(FileError, match="delete it"):
        CELL.read(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / ("n" * 300)):
        with pytest.raises(FileError, match="delete it"):
            CELL.read(place)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_finite_number_never_becomes_json(value):
    with pytest.raises(WordsightError, match=r"holds -?(nan|inf) at rows\.1\.score"):
        json_text({"rows": [{"score": 1.0}, {"score": value}]})


def test_json_is_read_as_it_was_written():
    value = {"text": 'é"\\', "numbers": [1, 1.5, -1e-300, 0.1 + 0.2], "none": None, "yes": True}
    assert parse_json(json_text(value)) == value


def test_differences_name_what_was_and_is():
    assert differences({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2}) == ""
    assert differences({"a": 1}, {"a": 2, "b": None, "c": 3}) == "a was 1, is 2; c was None, is 3"


def test_differences_of_records_within_name_only_what_differs():
    found = {"with": {"threads": 1, "versions": {"torch": "2.1", "wordsight": "1"}, "old": 5}}
    expected = {"with": {"threads": 1, "versions": {"torch": "2.2", "wordsight": "1"}}}
    assert differences(found, expected) == "with.versions.torch was 2.1, is 2.2; with.old was 5, is None"


TENSORS = {
    "weights": torch.arange(6.0).reshape(2, 3),
    "half": torch.ones(3).half(),
    "ids": torch.arange(4),
    "empty": torch.zeros(0, 3),
    "one": torch.tensor(1.0),
}


def raw(tensors):
    return {name: (tensor.dtype, tensor.shape, tensor.tolist()) for name, tensor in tensors.items()}


def same(found):
    return tensors_digest(found) == tensors_digest(TENSORS)


def test_tensors_and_their_record_come_back(tmp_path):
    write_tensors(tmp_path / "t.safetensors", TENSORS, CELL.text(RECORD))
    found = read_tensors(tmp_path / "t.safetensors", CELL)
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)
    assert read_metadata(tmp_path / "t.safetensors", CELL) == RECORD


def test_a_digest_is_of_names_types_shapes_and_every_byte():
    changed = [
        TENSORS | {"weights": TENSORS["weights"].reshape(3, 2)},
        TENSORS | {"weights": TENSORS["weights"].view(torch.int32)},
        TENSORS | {"weights": TENSORS["weights"].nextafter(torch.tensor(9.0))},
        {name.upper(): tensor for name, tensor in TENSORS.items()},
        {name: tensor for name, tensor in TENSORS.items() if name != "empty"},
    ]
    assert len({tensors_digest(each) for each in [TENSORS, *changed]}) == 6
    assert same(dict(reversed(TENSORS.items())))
    assert same({name: tensor.clone() for name, tensor in TENSORS.items()})


def test_a_damaged_tensor_file_never_passes_for_another(tmp_path, damages):
    path, unchanged = tmp_path / "t.safetensors", 0
    write_tensors(path, TENSORS, CELL.text(RECORD))
    for damaged in damages(path.read_bytes(), 100):
        path.write_bytes(damaged)
        assert read_or_refuse(lambda: read_metadata(path, CELL)) in (None, RECORD)
        tensors = read_or_refuse(lambda: read_tensors(path, CELL))
        if tensors is not None and same(tensors):
            assert raw(tensors) == raw(TENSORS)
            unchanged += 1
    assert unchanged < 100  # those whose record is damaged


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 8, b"\x02" + b"\0" * 7 + b"[]", bytes(100)])
def test_a_file_that_holds_no_tensors_is_refused(tmp_path, content):
    path = tmp_path / "t.safetensors"
    path.write_bytes(content)
    for read in (read_tensors, read_metadata):
        with pytest.raises(
            FileError, match=r"t\.safetensors (is no safetensors file|cannot be used as a cell) .*: delete it"
        ) as refusal:
            read(path, CELL)
        assert "SafetensorError" not in str(refusal.value)


def test_tensors_without_a_record_have_none(tmp_path):
    write_tensors(tmp_path / "t.safetensors", TENSORS)
    with pytest.raises(FileError, match=r"cannot be used as a cell \(it has no record\)"):
        read_metadata(tmp_path / "t.safetensors", CELL)


def test_a_file_that_is_cut_after_it_was_read_does_no_harm(tmp_path):
    path = tmp_path / "t.safetensors"
    write_tensors(path, TENSORS)
    found = read_tensors(path, CELL)
    path.write_bytes(b"")
    assert same(found)
    shutil.rmtree(tmp_path)
