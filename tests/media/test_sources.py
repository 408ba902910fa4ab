"""Sources: the same pictures come out of every kind, in order, and what is wrong is told before the work."""

import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import fsspec
import pyarrow as arrow
import pytest
from PIL import Image
from pyarrow import parquet

from wordsight._utils.notes import listen_to_notes
from wordsight.errors import MediaError, MediaNote, UsageError
from wordsight.media import containers
from wordsight.media.picture_files import StoredPicture
from wordsight.media.sources import open_source


def png(number):
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


PNGS = [png(number) for number in range(5)]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    containers._column.cache_clear()


def write_folder(place, names=("0.png", "1.png", "a/2.png", "b.png", "c/d/4.png")):
    for name, content in zip(names, PNGS, strict=False):
        path = Path(place, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def structs(contents=PNGS):
    return [{"bytes": content, "path": f"{number}.png"} for number, content in enumerate(contents)]


def write_parquet(path, columns, rows_of_a_group=2):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(arrow.table(columns), path, row_group_size=rows_of_a_group)


def write_saved(folder, column, values):
    """As `save_to_disk` has it: Arrow streams of several batches, and a list of them."""
    folder.mkdir(parents=True)
    for number, part in enumerate((values[:3], values[3:])):
        table = arrow.table({column: part})
        with arrow.ipc.new_stream(folder / f"data-{number}.arrow", table.schema) as stream:
            stream.write_table(table, max_chunksize=2)
    files = [{"filename": f"data-{number}.arrow"} for number in range(2)]
    (folder / "state.json").write_text(json.dumps({"_data_files": files}))


def folder():
    write_folder("in")
    return "in"


def text_list():
    write_folder("pictures")
    names = ["pictures/0.png", str(Path("pictures/1.png").absolute()), "pictures/a/2.png"]
    Path("list.txt").write_text("\n".join([*names, "", "pictures/b.png", "  pictures/c/d/4.png\n"]))
    return "list.txt"


def json_list():
    write_folder("pictures")
    names = ["0.png", "1.png", "a/2.png", "b.png", "c/d/4.png"]
    Path("lists").mkdir()
    lines = [json.dumps({"id": 1, "image": f"../pictures/{name}"}) for name in names]
    Path("lists/list.jsonl").write_text("\n".join(lines))
    return Path("lists/list.jsonl")


def python_list():
    write_folder("in")
    return [*map(Path, ("in/0.png", "in/1.png", "in/a/2.png", "in/b.png")), "in/c/d/4.png"]


def tar():
    write_tar(
        "all.tar", {name: c for i, c in enumerate(PNGS) for name, c in ((f"{i}.png", c), (f"{i}.cls", b"3"))}
    )
    return "all.tar"


def tars():
    write_tar("x-1.tar", {f"{i}.png": PNGS[i] for i in (3, 4)})
    write_tar("x-0.tar", {f"{i}.png": PNGS[i] for i in (0, 1, 2)})
    return "x-*.tar"


def parquet_structs():
    write_parquet("data/train-0.parquet", {"label": range(3), "image": structs(PNGS[:3])})
    write_parquet("data/.cache/train-0.parquet", {"label": range(3), "image": structs(PNGS[:3])})
    write_parquet("data/train-1.parquet", {"label": range(2), "image": structs(PNGS[3:])})
    return "data"


def parquet_bytes():
    write_parquet("plain.parquet", {"pixels": PNGS, "text": list("abcde")})
    return "plain.parquet"


def parquet_paths():
    write_folder("data")
    paths = [{"bytes": None, "path": f"{n}.png"} for n in ("0", "1", "a/2", "b", "c/d/4")]
    write_parquet("data/paths.parquet", {"image": paths})
    return "data/paths.parquet"


def saved_dataset():
    write_saved(Path("saved/train"), "image", structs())
    Path("saved/dataset_dict.json").write_text("{}")
    return "saved"


def remote_folder():
    files = fsspec.filesystem("memory")
    for name, content in zip(("0.png", "1.png", "a/2.png", "b.png", "c/d/4.png"), PNGS, strict=True):
        files.pipe(f"/folder/{name}", content)
    return "memory://folder"


def remote_parquet():
    write_parquet("one.parquet", {"image": structs()})
    fsspec.filesystem("memory").pipe("/data/one.parquet", Path("one.parquet").read_bytes())
    return "memory://data/one.parquet"


def remote_tars():
    tars()
    for name in ("x-0.tar", "x-1.tar"):
        fsspec.filesystem("memory").pipe(f"/tars/{name}", Path(name).read_bytes())
    return "memory://tars/x-*.tar"


def remote_list():
    remote_folder()
    names = ["0.png", "memory://folder/1.png", "a/2.png", "b.png", "c/d/4.png"]
    fsspec.filesystem("memory").pipe("/folder/list.txt", "\n".join(names).encode())
    return "memory://folder/list.txt"


def file_address():
    write_folder("in")
    return Path("in").absolute().as_uri()


KINDS = [
    *(folder, text_list, json_list, python_list, tar, tars, parquet_structs, parquet_bytes, parquet_paths),
    *(saved_dataset, remote_folder, remote_parquet, remote_tars, remote_list, file_address),
]
UNCOUNTED = (tar, tars, remote_parquet, remote_tars)


@pytest.fixture
def memory():
    """An empty file system of fsspec."""
    files = fsspec.filesystem("memory")
    yield files
    files.store.clear()


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
@pytest.mark.filterwarnings("ignore::wordsight.errors.MediaNote")
def test_every_kind_has_the_same_pictures_in_the_same_order_again_and_again(kind, memory):
    source = pickle.loads(pickle.dumps(open_source(kind())))
    assert source.count == (None if kind in UNCOUNTED else 5)
    for _ in range(2):
        assert [picture.read() for picture in source] == PNGS
    assert len({picture.name for picture in source}) == 5


def test_any_process_reads_any_picture_without_the_others():
    items = [*open_source(parquet_structs()), *open_source(tar())]
    program = "import pickle, sys; sys.stdout.buffer.write(pickle.load(sys.stdin.buffer).read())"
    for item in (items[4], items[8]):
        out = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(item), capture_output=True)
        assert out.stdout == item.read()


def test_names_tell_where_a_picture_is():
    assert [item.name for item in open_source(folder())][2] == "a/2.png"
    assert [item.name for item in open_source(tars())][3] == "x-1.tar/3.png"
    assert [item.name for item in open_source(parquet_structs())][3] == "train-1.parquet/0"
    write_parquet("deep/a/0.parquet", {"image": structs()})
    write_parquet("deep/b/0.parquet", {"image": structs()})
    assert next(iter(open_source("deep"))).name == "a/0.parquet/0"
    assert [item.name for item in open_source("deep/*/0.parquet")][5] == "b/0.parquet/0"


def test_the_first_so_many_are_counted():
    source = open_source(folder())
    assert [item.name for item in source.first(2)] == ["0.png", "1.png"]
    assert (source.first(2).count, source.first(9).count, source.first(None)) == (2, 5, source)
    assert open_source(tar()).first(2).count is None


def test_a_group_of_rows_is_decoded_once(monkeypatch):
    source, groups = open_source(parquet_bytes()), []
    monkeypatch.setattr(
        parquet.ParquetFile,
        "read_row_group",
        lambda file, group, read=parquet.ParquetFile.read_row_group, **rest: (
            groups.append(group) or read(file, group, **rest)
        ),
    )
    assert [item.read() for item in source] == PNGS
    assert groups == [0, 1, 2]


def test_a_folder_keeps_its_rules_and_says_what_is_left_out():
    write_folder("in", ["a.png", ".hidden.png", "notes.txt", "film.mp4"])
    with pytest.warns(MediaNote, match="left out 1") as notes:
        source = open_source("in")
    assert len(notes) == 3
    assert [item.name for item in source] == ["a.png"]


def test_a_remote_folder_has_the_same_rules(memory):
    for name in ("a.png", ".hidden/b.png", "notes.txt"):
        memory.pipe(f"/in/{name}", PNGS[0])
    with pytest.warns(MediaNote, match="memory://in: left out 1 that are") as notes:
        assert [item.name for item in open_source("memory://in")] == ["a.png"]
    assert len(notes) == 2


def test_a_list_may_name_containers():
    tar(), parquet_bytes()
    Path("list.txt").write_text("all.tar\nplain.parquet")
    assert [item.read() for item in open_source("list.txt")] == PNGS * 2
    write_parquet("two.parquet", {"mask": structs(PNGS[::-1]), "image": structs()})
    assert [item.read() for item in open_source(["all.tar", "two.parquet"], "mask")] == PNGS + PNGS[::-1]


def test_a_column_of_several_is_named():
    write_parquet("two.parquet", {"left": structs(), "right": structs(PNGS[::-1]), "n": range(5)})
    with pytest.raises(UsageError, match=r"two\.parquet: it has pictures in left and right; name the column"):
        open_source("two.parquet")
    assert [item.read() for item in open_source("two.parquet", "right")] == PNGS[::-1]
    with pytest.raises(
        UsageError, match=r"two.parquet: unknown column 'rigt': did you mean 'right'\? choose"
    ):
        open_source("two.parquet", "rigt")
    with pytest.raises(UsageError, match="column 'n' holds int64; expected bytes"):
        open_source("two.parquet", "n")
    Path("list.jsonl").write_text(json.dumps({"photo": "list.jsonl", "image": "none"}))
    assert [item.name for item in open_source("list.jsonl", "photo")] == ["list.jsonl"]


def test_of_several_columns_image_is_taken_and_that_is_told():
    write_parquet("two.parquet", {"mask": structs(PNGS[::-1]), "image": structs()})
    notes = []
    with listen_to_notes(notes.append):
        assert [item.read() for item in open_source("two.parquet")] == PNGS
    assert set(notes) == {
        "pictures are those of column image, not of mask, which --column (column) would name"
    }
    assert [item.read() for item in open_source("two.parquet", "mask")] == PNGS[::-1]


def test_a_column_of_what_has_none_is_refused():
    write_folder("in")
    Path("list.txt").write_text("in/0.png")
    for given in ("in", "list.txt", ["in/0.png"]):
        assert "column is 'photo', and the pictures of" in refused(given, "photo")


def refused(given, column=None):
    """The one sentence that says why this is no source."""
    with pytest.raises(UsageError) as error:
        open_source(given, column)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_holds_no_pictures_is_refused():
    Path("empty").mkdir()
    write_tar("none.tar", {"0.cls": b"3"})
    write_parquet("none.parquet", {"text": ["a"]})
    write_parquet("rows.parquet", {"image": arrow.array([], arrow.binary())})
    Path("list.txt").write_text("\n")
    Path("data.csv").write_text("a,b")
    assert "no pictures in empty" in refused("empty")
    assert "no pictures in none.tar" in refused("none.tar")
    assert "has no column of bytes of pictures; name the column, one of text" in refused("none.parquet")
    assert "no pictures in rows.parquet" in refused("rows.parquet")
    assert "no pictures in list.txt" in refused("list.txt")
    assert "no pictures in the list" in refused([])
    assert "data.csv is a file; expected a folder of pictures" in refused("data.csv")
    assert "no such folder: gone" in refused("gone")
    assert "cannot read gone.tar: No such file" in refused("gone.tar")
    assert "cannot read gone-*.tar: there is nothing" in refused("gone-*.tar")


def test_a_list_that_is_wrong_is_refused_before_the_work():
    write_folder("in")
    Path("list.txt").write_text("in/0.png\nin/x.png\nin/y.png\n")
    assert refused("list.txt").startswith("list.txt: no such file: 'in/x.png', and 1 more; paths are from")
    Path("list.txt").write_text("in/0.png\nin/1.png\nin/0.png\n")
    assert refused("list.txt") == "list.txt: 'in/0.png' is there 2 times; name each picture once"
    assert "the list: no such file: 'in/x.png'" in refused([Path("in/x.png")])
    for line, problem in (
        ("{", "line 2: this is not JSON"),
        ("[1]", "line 2: expected a JSON object"),
        ('{"image": 3}', "line 2: expected a path in field image or"),
        ("{}", "line 2: expected a path in field image or image_path"),
    ):
        Path("list.jsonl").write_text('{"image": "in/0.png"}\n' + line)
        assert problem in refused("list.jsonl")
    assert "unknown field 'img': did you mean 'image'" in refused("list.jsonl", "img")
    Path("list.txt").write_bytes(b"\xff\xfe\x00")
    assert "cannot read list.txt: " in refused("list.txt")


@pytest.mark.parametrize("damage", ["garbage", "cut", "compressed", "overwritten"])
def test_a_damaged_tar_is_one_sentence(damage):
    content = bytearray(Path(tar()).read_bytes())
    if damage == "cut":
        del content[1300:]
    if damage == "overwritten":  # the second header, where tarfile would see the end
        content[1024:1100] = b"x" * 76
    if damage == "garbage":
        content[:] = b"no tar" * 900
    Path("all.tar").write_bytes(content)
    if damage == "compressed":
        with tarfile.open("all.tar", "w:gz") as file:
            file.add(__file__, "0.png")
    with pytest.raises(MediaError, match=r"all\.tar is damaged, compressed or no \.tar file"):
        list(open_source("all.tar"))


def test_a_name_that_is_twice_in_a_tar_is_refused():
    with tarfile.open("all.tar", "w") as file:
        for _ in range(2):
            file.add(__file__, "0.png")
    with pytest.raises(MediaError, match=r"all\.tar has 0\.png twice"):
        list(open_source("all.tar"))


@pytest.mark.parametrize("kind", [parquet_bytes, saved_dataset], ids=["parquet", "saved"])
def test_a_damaged_table_is_one_sentence(kind):
    given = kind()
    file = Path("plain.parquet") if kind is parquet_bytes else Path("saved/train/data-0.arrow")
    for damaged in (b"no table", file.read_bytes()[:-20], b""):
        file.write_bytes(damaged)
        if kind is parquet_bytes or damaged == b"no table":
            assert "is damaged or no" in refused(given)


def test_rows_that_cannot_be_decoded_are_media_errors():
    content = bytearray(Path(parquet_bytes()).read_bytes())
    source = open_source("plain.parquet")
    content[4:40] = b"x" * 36  # the first page; the footer, which was read, is whole
    Path("plain.parquet").write_bytes(content)
    with pytest.raises(MediaError, match=r"plain\.parquet is damaged or no parquet file"):
        next(iter(source)).read()


def test_one_picture_that_cannot_be_read_is_no_end_of_the_others():
    values = structs()
    values[1], values[3] = None, {"bytes": None, "path": "gone.png"}
    write_parquet("some.parquet", {"image": values})
    reasons = []
    for item in open_source("some.parquet"):
        try:
            item.read()
        except MediaError as error:
            reasons.append((item.name, str(error)))
    assert [name for name, _ in reasons] == ["some.parquet/1", "some.parquet/3"]
    assert "some.parquet/1 is empty" in reasons[0][1]
    assert "cannot read gone.png: No such file" in reasons[1][1]
    with pytest.raises(MediaError, match="cannot read gone"):
        StoredPicture("gone", "gone").read()


def test_a_container_that_got_shorter_is_no_picture_of_fewer_bytes():
    *_, last = open_source(tar())
    os.truncate("all.tar", last.start + 10)
    with pytest.raises(MediaError, match=r"all\.tar is shorter than it was"):
        last.read()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://bucket/folder", r"needs a package .*s3fs.*: pip install 'wordsight\[remote\]'"),
        ("nope://bucket", "Protocol not known: nope; expected a path, or an address such as s3://"),
        ("memory://gone/folder", "cannot read memory://gone/folder: there is nothing"),
        ("memory://gone/a.parquet", "cannot read memory://gone/a.parquet"),
    ],
)
def test_an_address_that_cannot_be_opened_is_one_sentence(address, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MediaError, match=message):
        open_source(address)


def test_nothing_is_listed_before_it_is_asked_for(monkeypatch):
    write_folder("in")
    source = open_source("in")
    read = []
    monkeypatch.setattr(StoredPicture, "read", lambda item: read.append(item))
    assert next(iter(source)).name == "0.png"
    assert not read
