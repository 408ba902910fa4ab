"""Files and folders are replaced whole, or not at all."""

import os
from pathlib import Path

import pytest

from wordsight._utils.files import check_file, check_folder, replacing
from wordsight.errors import UsageError


def tree(root):
    """Every file below a folder with its content."""
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def write_folder(path, **contents):
    path.mkdir()
    for name, content in contents.items():
        (path / name).write_text(content)


def fail_while_writing(path, write, error):
    with replacing(path) as draft:
        write(draft)
        raise error


def test_a_file_appears_when_the_block_ends(tmp_path):
    with replacing(tmp_path / "out.json") as draft:
        draft.write_text("new")
        assert not (tmp_path / "out.json").exists()
    assert tree(tmp_path) == {"out.json": "new"}


@pytest.mark.parametrize("name", ["result", "usual", "old"])
def test_others_can_read_what_a_writer_made_private(tmp_path, name):
    (tmp_path / "usual file").touch()
    for inner in ("", "inner"):
        with replacing(tmp_path / f"{inner}{name}") as draft:
            if inner:
                draft.mkdir()
            file = draft / inner if inner else draft
            file.touch(mode=0o600)
        written = tmp_path / f"{inner}{name}" / inner
        assert written.stat().st_mode == (tmp_path / "usual file").stat().st_mode


def test_a_file_takes_the_place_of_the_old_one(tmp_path):
    (tmp_path / "out.json").write_text("old")
    with replacing(tmp_path / "out.json") as draft:
        draft.write_text("new")
    assert tree(tmp_path) == {"out.json": "new"}


def test_a_folder_takes_the_place_of_the_old_one(tmp_path):
    write_folder(tmp_path / "book", kept="old", gone="old")
    with replacing(tmp_path / "book") as draft:
        write_folder(draft, kept="new")
    assert tree(tmp_path) == {"book/kept": "new"}


def test_folders_above_are_made(tmp_path):
    with replacing(tmp_path / "a" / "b" / "out.json") as draft:
        draft.write_text("new")
    assert tree(tmp_path) == {"a/b/out.json": "new"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_no_litter(tmp_path, error):
    (tmp_path / "out.json").write_text("old")
    with pytest.raises(error):
        fail_while_writing(tmp_path / "out.json", lambda draft: draft.write_text("half"), error)
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    assert tree(tmp_path) == {"out.json": "old"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_folder_and_no_litter(tmp_path, error):
    write_folder(tmp_path / "book", one="old", two="old")
    with pytest.raises(error):
        fail_while_writing(tmp_path / "book", lambda draft: write_folder(draft, one="new"), error)
    assert [path.name for path in tmp_path.iterdir()] == ["book"]
    assert tree(tmp_path) == {"book/one": "old", "book/two": "old"}


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_swap_that_fails_half_way_brings_the_old_folder_back(tmp_path, monkeypatch, error):
    write_folder(tmp_path / "book", one="old")
    replace, moves = os.replace, []

    def second_fails(source, target):
        moves.append(source)
        if len(moves) == 2:
            raise error("no")
        replace(source, target)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises((UsageError, KeyboardInterrupt)), replacing(tmp_path / "book") as draft:
        write_folder(draft, one="new")
    assert tree(tmp_path) == {"book/one": "old"}


def test_a_place_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("old")
    with (
        pytest.raises(UsageError, match=r"cannot write .*out\.json"),
        replacing(tmp_path / "file" / "out.json"),
    ):
        pass
    assert tree(tmp_path) == {"file": "old"}


def test_a_folder_does_not_take_the_place_of_a_file(tmp_path):
    (tmp_path / "book").write_text("old")
    with pytest.raises(UsageError, match="cannot write"), replacing(tmp_path / "book") as draft:
        write_folder(draft, one="new")
    assert tree(tmp_path) == {"book": "old"}


def test_a_file_does_not_take_the_place_of_a_folder(tmp_path):
    write_folder(tmp_path / "book", one="old")
    with pytest.raises(UsageError, match="cannot write"), replacing(tmp_path / "book") as draft:
        draft.write_text("new")
    assert tree(tmp_path) == {"book/one": "old"}


def test_the_folder_one_stands_in_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="cannot write"), replacing(Path(".")) as draft:
        write_folder(draft, one="new")


def test_a_folder_is_no_place_for_a_file(tmp_path):
    with pytest.raises(UsageError, match="it is a folder"):
        check_file(tmp_path)


def test_a_file_is_no_place_for_a_folder(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(UsageError, match="it is a file"):
        check_folder(tmp_path / "file")


@pytest.mark.parametrize("check", [check_file, check_folder])
def test_checking_a_place_leaves_nothing_there(check, tmp_path):
    check(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence_and_keeps_the_old_file(tmp_path):
    (tmp_path / "out.json").write_text("old")
    with (
        pytest.raises(UsageError, match=r"cannot write .*out\.json: No space left on device; make room"),
        replacing(tmp_path / "out.json"),
    ):
        Path("/dev/full").write_text("new")
    assert tree(tmp_path) == {"out.json": "old"}
