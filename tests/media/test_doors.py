"""Doors: whatever comes in by the library, the command line, a question file or the page is the same."""

import io
import json
import os
import struct
import sys
import threading
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from wordsight import MediaInput, UsageError, Video
from wordsight._utils.notes import listen_to_notes
from wordsight.cli.common import open_media, open_picture
from wordsight.media import formats
from wordsight.media.images import find_pictures, load_picture
from wordsight.tasks.questions import Questions
from wordsight.viewer.uploads import open_uploads

LEFT, RIGHT = (200, 40, 40), (40, 40, 200)


def halves(turn=0):
    """A picture that is red on the left and blue on the right."""
    picture = Image.new("RGB", (32, 16), LEFT)
    picture.paste(RIGHT, (16, 0, 32, 16))
    return picture.rotate(turn)


def saved(kind, **options):
    file = io.BytesIO()
    halves().save(file, kind, **options)
    return file.getvalue()


def animated(kind):
    """Two frames of half a second: halves, and the same turned round."""
    return saved(kind, save_all=True, append_images=[halves(180)], duration=500, lossless=True)


def film(container="mp4", codec="mpeg4"):
    """Two frames of half a second: halves, and the same turned round."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=2)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for turn in (0, 180):
            out.mux(stream.encode(av.VideoFrame.from_image(halves(turn))))
        out.mux(stream.encode())
    return file.getvalue()


def by_library(path):
    return MediaInput.of(path)


def by_command_line(path):
    return open_media([path])


def by_page(path):
    return open_uploads([(path.name, path.read_bytes())], "what?").media


def by_question_file(path):
    """As `image`, and where that is refused as `video`."""
    for field in ("image", "video"):
        row = {field: str(path), "question": "what is it?", "answer": "red"}
        questions = path.parent / "q.jsonl"
        questions.write_text(json.dumps(row))
        try:
            return MediaInput.of(Questions(path=str(questions)).first(None)[0].images)
        except UsageError as error:
            refusal = error
    raise refusal


DOORS = [by_library, by_command_line, by_page, by_question_file]
STILL = {
    "a.png": saved("PNG"),
    "b.JPG": saved("JPEG"),
    "c.jfif": saved("JPEG"),
    "d.webp": saved("WEBP"),
    "e.avif": saved("AVIF"),
    "f.tiff": saved("TIFF"),
    "g.bmp": saved("BMP"),
    "h.gif": saved("GIF"),
    "i.jp2": saved("JPEG2000"),
    "j.ppm": saved("PPM"),
    "k.png": saved("JPEG"),
    "l.mp4": saved("PNG"),
    "m": saved("PNG"),
}
MOVING = {
    "a.gif": animated("GIF"),
    "b.webp": animated("WEBP"),
    "c.avif": animated("AVIF"),
    "d.png": animated("PNG"),
    "e.mp4": film(),
    "f.mkv": film("matroska"),
    "g.ts": film("mpegts") + 20 * (b"G\x1f\xff\x10" + b"\xff" * 184),  # too short to be told otherwise
    "h.flv": film("flv", "flv"),
    "i.wmv": film("asf", "wmv2"),
    "j.3gp": film("3gp"),
    "k.png": film(),
    "l": film("matroska"),
}


def near(color, other):
    return max(abs(a - b) for a, b in zip(color, other, strict=True)) < 45


def sides(picture):
    return picture.getpixel((4, 8)), picture.getpixel((27, 8))


@pytest.mark.parametrize("door", DOORS)
def test_pictures_are_the_same_by_every_door(tmp_path, door):
    for name, content in STILL.items():
        if door is by_question_file and name == "l.mp4":
            continue  # `video` is asked for a film
        (tmp_path / name).write_bytes(content)
        (picture,) = door(tmp_path / name).pictures
        left, right = sides(picture)
        assert near(left, LEFT), name
        assert near(right, RIGHT), name


@pytest.mark.parametrize("door", DOORS)
def test_films_are_the_same_by_every_door(tmp_path, door):
    for name, content in MOVING.items():
        (tmp_path / name).write_bytes(content)
        (video,) = door(tmp_path / name).videos
        assert video.times == pytest.approx([0, 0.5]), name
        assert video.duration == pytest.approx(1, abs=0.11), name
        for frame, (left, right) in zip(video.frames, [(LEFT, RIGHT), (RIGHT, LEFT)], strict=True):
            assert near(sides(frame)[0], left), name
            assert near(sides(frame)[1], right), name


def bomb():
    """A picture of 169 million pixels in a few bytes."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 13_000, 13_000, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


REFUSED = {
    "pages.tif": (saved("TIFF", save_all=True, append_images=[halves(180)]), "has 2 pages"),
    "eps.png": (saved("EPS"), "is no (picture|video)"),
    "text.png": (b"not a picture", "is no (picture|video)"),
    "list.mp4": (b"ffconcat version 1.0\nfile a.mp4\n", "is no (picture|video)"),
    "hls.mp4": (b"#EXTM3U\n#EXTINF:1,\na.ts\n", "is no (picture|video)"),
    "empty.jpg": (b"", "is no (picture|video)"),
    "cut.png": (saved("PNG")[:-50], "is damaged or cut short"),
    "cut.mp4": (film()[:200], "is no video that can be read"),
    "bomb.png": (bomb(), "has 169.0 million pixels, there is room for 150.0 million"),
    "nan.tif": (None, "holds NaN or infinity"),
    "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40), "is HEIC; to read it, pip install"),
}


@pytest.mark.parametrize("door", DOORS)
def test_what_cannot_be_read_is_one_sentence_by_every_door(tmp_path, door):
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "nan.tif")
    for name, (content, sentence) in REFUSED.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        kinds = f"{sentence}|is a single picture" if door is by_question_file else sentence
        with pytest.raises(UsageError, match=rf"{name} ({kinds})") as refusal:
            door(tmp_path / name)
        assert "\n" not in str(refusal.value)


def by_path(name):
    return MediaInput.of(name)


def by_picture(name):
    return load_picture(name)


def by_video(name):
    return Video.open(name)


def by_probe(name):
    return open_picture(Path(name))


@pytest.mark.parametrize("door", [by_path, by_picture, by_video, by_command_line, by_probe])
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("https://example.org/a.png", "https:/.*a.png is a URL, and nothing is fetched"),
        ("https:/example.org/a.png", "https:/example.org/a.png is a URL"),
        ("s3://bucket/a.mp4", "s3:/.*a.mp4 is a URL"),
        ("data:image/png;base64,AAAA", "is a URL"),
        ("file://elsewhere/a.png", "is a URL"),
        ("concat:a.mp4|b.mp4", "no such .*concat:a.mp4"),
        ("x" * 300 + ".png", "cannot open x{200}.*: File name too long"),
        ("a\0.png", r"'a\\x00.png'"),
        ("gone\n.png", r"no such .*: 'gone\\n.png'"),
        (".", "is a folder; expected the path of a"),
    ],
    ids=lambda text: text[:30] if isinstance(text, str) else None,
)
def test_a_name_that_is_no_file_is_one_sentence(door, name, sentence):
    with pytest.raises(UsageError, match=sentence) as refusal:
        door(name if door is not by_command_line else Path(name))
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("x" * 300, "cannot open x{200}"), ("a\0", r"'a\\x00'"), ("gone", "no such folder")],
)
def test_a_folder_that_is_none_is_one_sentence(name, sentence):
    with pytest.raises(UsageError, match=f"{sentence}.*expected a folder of pictures"):
        find_pictures(name)


def test_a_folder_that_is_closed_is_one_sentence(tmp_path, monkeypatch):
    """As for a user who is not root."""

    def closed(path, *given, **options):
        raise PermissionError(13, "Permission denied", str(path))

    for door, method in ((load_picture, "is_dir"), (find_pictures, "is_dir"), (load_picture, "exists")):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, closed)
            with pytest.raises(UsageError, match=r"cannot open .*a\.png: Permission denied"):
                door(tmp_path / "a.png")


@pytest.mark.parametrize("content", [STILL["a.png"], MOVING["e.mp4"]], ids=["picture", "film"])
def test_paths_urls_bytes_and_files_are_the_same(tmp_path, content):
    path = tmp_path / "a b%.bin"
    path.write_bytes(content)
    expected = [frame.tobytes() for frame in MediaInput.of(path).frames]
    with path.open("rb") as opened, path.open("rb", buffering=0) as raw:
        opened.seek(5)
        for given in (
            str(path),
            path.as_uri(),
            content,
            bytearray(content),
            io.BytesIO(content),
            opened,
            raw,
        ):
            assert [frame.tobytes() for frame in MediaInput.of(given).frames] == expected
            assert [frame.tobytes() for frame in MediaInput.of([given]).frames] == expected


@pytest.mark.parametrize("content", [STILL["a.png"], MOVING["e.mp4"]], ids=["picture", "film"])
def test_what_comes_through_a_pipe_is_read_once(tmp_path, content):
    expected = [frame.tobytes() for frame in MediaInput.of(content).frames]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    assert [frame.tobytes() for frame in MediaInput.of(pipe).frames] == expected
    writer.join()
    read, write = os.pipe()
    with open(read, "rb") as end, open(write, "wb") as start:
        start.write(content)
        start.close()
        assert [frame.tobytes() for frame in MediaInput.of(end).frames] == expected


def test_a_pipe_without_an_end_is_refused(monkeypatch):
    monkeypatch.setattr(formats, "BYTES", 10**6)
    with pytest.raises(UsageError, match="more than 1 MiB come from /dev/zero"):
        load_picture("/dev/zero")


class Terminal(io.BytesIO):
    def isatty(self):
        return True


def test_a_dash_is_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(STILL["a.png"])))
    assert np.array_equal(open_media(["-"]).pictures[0], halves())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(STILL["a.png"])))
    assert np.array_equal(open_picture("-"), halves())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"text")))
    with pytest.raises(UsageError, match="standard input is no picture or video"):
        open_media(["-"])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Terminal()))
    with pytest.raises(UsageError, match=r"- reads .* a terminal here; pipe one into it"):
        open_media(["-"])


def test_lists_of_anything_are_several_pictures():
    array = np.asarray(halves())
    for listed in ([array, array], (array, halves()), iter([STILL["a.png"], io.BytesIO(STILL["a.png"])])):
        assert [np.array_equal(each, halves()) for each in MediaInput.of(listed).pictures] == [True, True]
    assert len(MediaInput.of(array).pictures) == 1


def closed_image():
    image = Image.open(io.BytesIO(STILL["a.png"]))
    image.close()
    return image


def closed_file():
    file = io.BytesIO(STILL["a.png"])
    file.close()
    return file


def moving_image():
    return Image.open(io.BytesIO(MOVING["a.gif"]))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (lambda: None, "expected a picture or video: a path.* got NoneType"),
        (lambda: 3, "got int"),
        (lambda: {"image": "a.png"}, "got dict"),
        (lambda: [None], "got NoneType"),
        (lambda: [["a.png"]], "got list"),
        (list, "at least one image or video; got none"),
        (closed_image, "the picture cannot be used .*open it again"),
        (closed_file, "the file object cannot be read .*open it again"),
        (moving_image, "the picture is an animation of 2 frames"),
        (lambda: io.StringIO("text"), "the file object is opened as text; open it as binary"),
    ],
)
def test_what_is_no_media_is_one_sentence(given, sentence):
    with pytest.raises(UsageError, match=sentence):
        MediaInput.of(given())


def test_frames_are_asked_of_videos_only(tmp_path):
    assert len(MediaInput.of(MOVING["e.mp4"], frames=1).frames) == 1
    with pytest.raises(UsageError, match=r"frames and fps are for videos.*frames=2"):
        MediaInput.of(STILL["a.png"], frames=2)
    for options in ({"fps": float("nan")}, {"fps": 0.0}, {"frames": 0}, {"frames": 10**25}):
        with pytest.raises(UsageError, match="must be"):
            MediaInput.of("gone.mp4", **options)


def test_a_video_is_made_of_a_list_of_pictures():
    for given in ("a.png", Path("a.png"), STILL["a.png"], halves(), np.asarray(halves()), None):
        with pytest.raises(UsageError, match=r"a video is made of a list of pictures; got"):
            Video.of(given)
    assert len(Video.of(np.stack([np.asarray(halves())] * 3)).frames) == 3
    assert len(Video.of([STILL["a.png"], np.asarray(halves())]).frames) == 2


def test_a_single_picture_is_no_film():
    for name in ("a.png", "e.avif", "h.gif"):
        with pytest.raises(UsageError, match="is a single picture; expected a film"):
            Video.open(STILL[name])


def test_what_was_assumed_is_kept_with_the_media(tmp_path):
    Image.fromarray(np.full((4, 4), 4000, np.uint16)).save(tmp_path / "scan.png")
    with pytest.warns(UserWarning, match=r"scan.png: its values reach 4000"):
        (note,) = MediaInput.of(tmp_path / "scan.png").notes
    assert "4095 is taken as white" in note
    (told,) = by_page(tmp_path / "scan.png").notes  # and no warning
    assert told == "scan.png: its values reach 4000 (uint16): 4095 is taken as white"


def test_the_page_offers_what_is_read():
    offered = formats.file_chooser().split(",")
    assert {".avif", ".jp2", ".ppm", ".jfif", ".mp4", ".wmv", ".3gp"} <= set(offered)
    assert (".heic" in offered) == ("HEIF" in formats.pillow_formats())


def test_all_pictures_of_a_folder_are_found_and_the_others_told(tmp_path):
    album, elsewhere = tmp_path / "album", tmp_path / "elsewhere"
    (album / ".thumbs").mkdir(parents=True)
    elsewhere.mkdir()
    names = ["a.png", "b.AVIF", "c.jfif", "d.jp2", "e.ppm"]
    for name in (*names, "._a.png", ".thumbs/a.png", "notes.txt", "film.mp4"):
        (album / name).write_bytes(STILL["a.png"])
    (elsewhere / "linked.png").write_bytes(STILL["a.png"])
    (album / "link").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(album)
    (album / "broken.png").symlink_to(tmp_path / "gone.png")
    told = []
    with listen_to_notes(told.append):
        found = [path.relative_to(album).as_posix() for path in find_pictures(album)]
    assert found == [*names, "link/linked.png"]
    assert sorted(note.split(": ", 1)[1].split(",")[0] for note in told) == [
        "left out 1 that are broken links or pipes",
        "left out 1 that are no pictures by their suffix",
        "left out 1 that are videos",
        "left out 2 that are hidden",
    ]
