"""Files and folders are replaced whole, or not at all, and nothing else is harmed."""

import errno
import os
import resource
import stat
import threading
from pathlib import Path

import pytest

from wordsight._utils import drafts, files
from wordsight._utils.drafts import draft_beside, sweep
from wordsight._utils.files import check_file, check_folder, is_stream, replacing, write_first
from wordsight._utils.records import check_replaced
from wordsight.errors import FileError, WordsightError


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


def no_exchange(*_):
    return False


def stopped_within(parent, body):
    """What a killed process leaves behind: it has no chance to clear anything away."""
    if not (child := os.fork()):
        with draft_beside(parent / "out") as draft:
            body(draft)
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("exchange", [drafts._exchange, no_exchange])
def test_a_folder_is_replaced_with_and_without_an_exchange(tmp_path, monkeypatch, exchange):
    monkeypatch.setattr(drafts, "_exchange", exchange)
    write_folder(tmp_path / "book", one="old", two="old")
    with replacing(tmp_path / "book") as draft:
        write_folder(draft, one="new")
    assert tree(tmp_path) == {"book/one": "new"}
    assert os.listdir(tmp_path) == ["book"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_swap_that_fails_half_way_brings_the_old_folder_back(tmp_path, monkeypatch, error):
    write_folder(tmp_path / "book", one="old")
    rename, moves = os.rename, []

    def second_fails(source, target):
        moves.append(source)
        if len(moves) == 2:
            raise error("no")
        rename(source, target)

    monkeypatch.setattr(drafts, "_exchange", no_exchange)
    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises((WordsightError, KeyboardInterrupt)), replacing(tmp_path / "book") as draft:
        write_folder(draft, one="new")
    assert tree(tmp_path) == {"book/one": "old"}


def test_an_older_folder_is_there_whenever_a_process_is_killed(tmp_path, monkeypatch):
    write_folder(tmp_path / "book", one="old")
    seen = []
    monkeypatch.setattr(drafts, "_swap_in_two_steps", lambda *_: pytest.fail("there is an instant without"))
    exchange = drafts._exchange

    def watched(draft, place):
        seen.append((place / "one").read_text())
        done = exchange(draft, place)
        seen.append((place / "one").read_text())
        return done

    monkeypatch.setattr(drafts, "_exchange", watched)
    with replacing(tmp_path / "book") as draft:
        write_folder(draft, one="new")
    assert seen == ["old", "new"]


def test_a_folder_that_another_process_has_written_meanwhile_is_replaced(tmp_path, monkeypatch):
    replace = os.replace

    def too_late(draft, place):
        write_folder(Path(place), one="theirs", two="theirs")
        replace(draft, place)

    monkeypatch.setattr(os, "replace", too_late)
    with replacing(tmp_path / "book") as draft:
        write_folder(draft, one="ours")
    assert tree(tmp_path) == {"book/one": "ours"}


def test_the_next_run_brings_back_what_was_set_aside_between_two_renames(tmp_path, monkeypatch):
    write_folder(tmp_path / "out", one="old")

    def half(draft):
        write_folder(draft, one="new")
        older = draft.parent.with_name("older")
        older.mkdir()
        os.rename(tmp_path / "out", older / "out")

    stopped_within(tmp_path, half)
    assert not (tmp_path / "out").exists()
    check_folder(tmp_path / "out", {"one"})
    assert tree(tmp_path) == {"out/one": "old"}


def test_a_killed_process_s_draft_is_swept_by_the_next_that_writes_there(tmp_path):
    stopped_within(tmp_path, lambda draft: draft.write_text("half"))
    (tmp_path / ".wordsight-abcdefgh").mkdir()  # killed before it was locked
    assert len(os.listdir(tmp_path)) == 2
    with replacing(tmp_path / "other.json") as draft:
        draft.write_text("new")
    assert os.listdir(tmp_path) == ["other.json"]


def test_a_living_process_s_draft_is_left_alone(tmp_path):
    with replacing(tmp_path / "one.json") as draft:
        draft.write_text("one")
        sweep(tmp_path)
        with replacing(tmp_path / "two.json") as other:
            other.write_text("two")
    assert tree(tmp_path) == {"one.json": "one", "two.json": "two"}


def test_a_folder_that_is_only_called_like_a_draft_is_left_alone(tmp_path):
    write_folder(tmp_path / ".wordsight-abcdefgh", mine="mine")
    sweep(tmp_path)
    assert tree(tmp_path) == {".wordsight-abcdefgh/mine": "mine"}


def test_where_nothing_can_be_locked_files_are_written_and_no_draft_is_swept(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    stopped_within(tmp_path, lambda draft: draft.write_text("half"))
    monkeypatch.setattr(drafts.fcntl, "flock", refuse)
    with replacing(tmp_path / "out.json") as draft:
        draft.write_text("new")
    assert (tmp_path / "out.json").read_text() == "new"
    assert len(os.listdir(tmp_path)) == 2


def test_processes_that_write_to_one_place_at_once_leave_one_whole_result(tmp_path):
    write_folder(tmp_path / "book", one="old", two="old")
    children = []
    for number in range(6):
        if not (child := os.fork()):
            for _ in range(5):
                with replacing(tmp_path / "book") as draft:
                    write_folder(draft, one=str(number), two=str(number))
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    assert os.listdir(tmp_path) == ["book"]
    assert len(set(tree(tmp_path).values())) == 1


def test_what_is_replaced_keeps_its_mode_and_new_files_have_the_usual_one(tmp_path):
    (tmp_path / "usual").touch()
    for name in ("private.json", "new.json"):
        if name == "private.json":
            (tmp_path / name).touch()
            (tmp_path / name).chmod(0o600)
        with replacing(tmp_path / name) as draft:
            draft.write_text("new")
    assert stat.S_IMODE((tmp_path / "private.json").stat().st_mode) == 0o600
    assert (tmp_path / "new.json").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_folder_that_is_replaced_keeps_its_mode_and_those_of_its_files(tmp_path):
    write_folder(tmp_path / "book", one="old", two="old")
    (tmp_path / "book").chmod(0o700)
    (tmp_path / "book" / "one").chmod(0o640)
    with replacing(tmp_path / "book") as draft:
        write_folder(draft, one="new", two="new")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("book", "book/one")]
    assert modes == [0o700, 0o640]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_a_link_and_its_file_is_written(tmp_path, there):
    (tmp_path / "far").mkdir()
    if there:
        (tmp_path / "far" / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("far/real.json")
    with replacing(tmp_path / "link.json") as draft:
        draft.write_text("new")
    assert (tmp_path / "link.json").readlink() == Path("far/real.json")
    assert (tmp_path / "far" / "real.json").read_text() == "new"


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    write_folder(tmp_path / "real", one="old")
    (tmp_path / "book").symlink_to("real")
    with replacing(tmp_path / "book") as draft:
        write_folder(draft, one="new")
    assert (tmp_path / "book").is_symlink()
    assert tree(tmp_path / "real") == {"one": "new"}


def test_a_device_is_written_through(tmp_path):
    before = Path("/dev/null").stat()
    check_file(Path("/dev/null"), (".png",))
    with replacing(Path("/dev/null")) as draft:
        draft.write_text("new")
    after = Path("/dev/null").stat()
    assert (after.st_rdev, after.st_mode, after.st_ino) == (before.st_rdev, before.st_mode, before.st_ino)


def test_a_pipe_is_written_through(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_text()))
    reader.start()
    check_file(tmp_path / "pipe", (".png",))
    with replacing(tmp_path / "pipe") as draft:
        draft.write_text("new")
    reader.join(10)
    assert got == ["new"]
    assert (tmp_path / "pipe").is_fifo()


def test_stdout_is_written_where_it_stands_even_if_it_goes_to_a_file(tmp_path, monkeypatch):
    with (tmp_path / "log").open("w") as log:
        monkeypatch.setattr(files, "STREAMS", (log.fileno(),))
        print("before", file=log, flush=True)
        assert is_stream(tmp_path / "log")
        with replacing(tmp_path / "log") as draft:
            draft.write_text("result\n")
        print("after", file=log)
    assert (tmp_path / "log").read_text() == "before\nresult\nafter\n"


def test_a_place_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(FileError, match=r"cannot write .*out\.json: Not a directory"):
        check_file(tmp_path / "file" / "out.json")
    with pytest.raises(WordsightError, match="cannot write"), replacing(tmp_path / "file" / "out.json"):
        pass
    assert tree(tmp_path) == {"file": "old"}


def test_a_folder_does_not_take_the_place_of_a_file(tmp_path):
    (tmp_path / "book").write_text("old")
    with pytest.raises(WordsightError, match="cannot write"), replacing(tmp_path / "book") as draft:
        write_folder(draft, one="new")
    assert tree(tmp_path) == {"book": "old"}


def test_a_file_does_not_take_the_place_of_a_folder(tmp_path):
    write_folder(tmp_path / "book", one="old")
    with pytest.raises(WordsightError, match="cannot write"), replacing(tmp_path / "book") as draft:
        draft.write_text("new")
    assert tree(tmp_path) == {"book/one": "old"}


@pytest.mark.parametrize("place", [".", "..", "../..", "/", "../here", "link"])
def test_the_folder_one_stands_in_is_refused(tmp_path, monkeypatch, place):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(FileError, match="cannot write"):
        check_folder(Path(place), os.listdir(place))
    with pytest.raises(FileError, match="one stands in"), replacing(Path(place)) as draft:
        write_folder(draft, one="new")


def test_a_folder_is_no_place_for_a_file(tmp_path):
    with pytest.raises(FileError, match="it is a folder"):
        check_file(tmp_path)


def test_a_file_is_no_place_for_a_folder(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(FileError, match="it is a file"):
        check_folder(tmp_path / "file", ())


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    write_folder(tmp_path / "book", one="old", thesis="mine")
    with pytest.raises(FileError, match="it holds thesis, which would be gone"):
        check_folder(tmp_path / "book", ("one",))


@pytest.mark.parametrize("name", ["new", "a/b/new", "x" * 255, "a/" + "x" * 255, "with blanks/päge.html/"])
def test_checking_a_place_leaves_nothing_there(tmp_path, name):
    check_file(tmp_path / name)
    check_folder(tmp_path / name, ())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x" * 255, "with blanks/päge 漢字.html/"])
def test_any_name_that_the_disk_takes_is_written(tmp_path, name):
    with replacing(tmp_path / name) as draft:
        draft.write_text("new")
    assert (tmp_path / name).read_text() == "new"


@pytest.mark.parametrize("name", ["x" * 256, "a/" + "x" * 256, "x" * 256 + "/a", "nul\0"])
def test_a_name_that_cannot_be_is_one_sentence_before_the_work(tmp_path, name):
    for check in (check_file, lambda path: check_folder(path, ())):
        with pytest.raises(FileError, match=r"cannot write .*(too long|null)"):
            check(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_mount_point_is_refused_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "book").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: path == tmp_path / "book")
    with pytest.raises(FileError, match="it is a mount point"):
        check_folder(tmp_path / "book", ())
    check_folder(tmp_path / "book" / "book", ())


def test_what_is_write_protected_is_refused(tmp_path, monkeypatch):
    (tmp_path / "out.json").write_text("old")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anything
    with pytest.raises(FileError, match="it is write-protected"):
        check_file(tmp_path / "out.json")


def test_the_name_says_what_is_written(tmp_path):
    check_file(tmp_path / "page.HTML", (".html", ".htm"))
    with pytest.raises(FileError, match=r"page\.pdf: expected a name that ends in \.html or \.htm"):
        check_file(tmp_path / "page.pdf", (".html", ".htm"))


@pytest.mark.parametrize("name", ["own.png", "../{}/own.png", "link.png", "hard.png"])
def test_what_is_read_is_not_written(tmp_path, name):
    own = tmp_path / "own.png"
    own.write_text("mine")
    (tmp_path / "link.png").symlink_to(own)
    os.link(own, tmp_path / "hard.png")
    with pytest.raises(FileError, match=r"the same command uses .*; give another name"):
        check_file(tmp_path / name.format(tmp_path.name), apart=[own])
    check_file(tmp_path / "other.png", apart=[own])


def test_names_that_are_too_long_are_no_place_and_no_other_file(tmp_path):
    long = "a" * 300
    with pytest.raises(FileError, match="File name too long"):
        check_file(tmp_path / f"{long}.json", apart=[tmp_path / "own.png"])
    check_file(tmp_path / "out.json", apart=[tmp_path / long])
    check_replaced(tmp_path / f"{long}.json", "rows")


def test_what_is_written_is_neither_in_what_is_read_nor_around_it(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (tmp_path / "link").symlink_to(photos)
    for inside in ("photos/out", "photos/a/out", "link/out"):
        for check in (check_file, lambda path, apart: check_folder(path, (), apart)):
            with pytest.raises(FileError, match=r"it is in .*photos, which is used too"):
                check(tmp_path / inside, apart=[photos])
    with pytest.raises(FileError, match="is used too, is in it"):
        check_folder(tmp_path / "new", (), [tmp_path / "new" / "evidence"])
    check_folder(tmp_path / "photos2", (), [photos])


def test_a_full_disk_is_one_sentence_and_keeps_the_old_file(tmp_path):
    (tmp_path / "out.json").write_text("old")
    with (
        pytest.raises(WordsightError, match=r"out\.json: No space left on device; make room") as caught,
        replacing(tmp_path / "out.json"),
    ):
        Path("/dev/full").write_text("new")
    assert caught.value.exit_code == 1
    assert tree(tmp_path) == {"out.json": "old"}


def test_a_device_without_room_is_one_sentence():
    with (
        pytest.raises(WordsightError, match="/dev/full: No space left on device"),
        replacing(Path("/dev/full")) as draft,
    ):
        draft.write_text("new")


def test_a_write_that_the_system_cuts_short_keeps_the_old_folder(tmp_path):
    write_folder(tmp_path / "book", one="old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with (
            pytest.raises(WordsightError, match="book: File too large"),
            replacing(tmp_path / "book") as draft,
        ):
            write_folder(draft, one="new" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert tree(tmp_path) == {"book/one": "old"}
    assert os.listdir(tmp_path) == ["book"]


def test_of_two_that_write_a_file_first_the_first_one_stays(tmp_path):
    path = tmp_path / "folder" / "file"
    write_first(path, "mine")
    write_first(path, "theirs")
    assert tree(tmp_path) == {"folder/file": "mine"}


def test_where_there_are_no_hard_links_a_file_is_written_all_the_same(tmp_path, monkeypatch):
    def unknown(*given):
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", unknown)
    write_first(tmp_path / "file", "mine")
    assert tree(tmp_path) == {"file": "mine"}
