"""Video: frames of a real file are those that were written, at their times; damaged files are refused."""

import io

import av
import numpy as np
import pytest
from PIL import Image

from wordsight import UsageError, Video
from wordsight.media import video as module
from wordsight.media.inputs import MediaInput
from wordsight.media.video import Sampling, read_film

SIZE = (64, 48)


def shade(i):
    return 10 * i % 250 + 5


def write(path, count, *, fps=25):
    """A film whose frame i is of one gray, shade(i)."""
    with av.open(str(path), "w") as film:
        stream = film.add_stream("mpeg4", rate=fps)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for i in range(count):
            pixels = np.full((SIZE[1], SIZE[0], 3), shade(i), np.uint8)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        film.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write(tmp_path_factory.mktemp("film") / "twenty.mp4", 20, fps=5)


def numbers(video):
    """Which frame of the film each frame is, by its shade."""
    return [round((np.asarray(frame).mean() - 5) / 10) for frame in video.frames]


def test_frames_are_evenly_spread_from_the_first_to_the_last(film):
    video = Video.open(film, frames=5)
    assert numbers(video) == [0, 4, 9, 14, 19]
    assert video.times == pytest.approx([0, 0.8, 1.8, 2.8, 3.8])
    assert video.frames[0].size == SIZE


def test_eight_frames_are_the_default(film):
    assert len(Video.open(film).frames) == 8


def test_no_more_frames_than_there_are(film):
    assert numbers(Video.open(film, frames=99)) == list(range(20))


@pytest.mark.parametrize(
    ("fps", "expected"), [(1, [0, 5, 10, 15]), (2.5, list(range(0, 20, 2))), (50, list(range(20)))]
)
def test_so_many_frames_a_second(film, fps, expected):
    video = Video.open(film, fps=fps)
    assert numbers(video) == expected
    assert video.fps == pytest.approx(min(fps, 5))


def test_one_frame_is_a_video(film):
    video = Video.open(film, frames=1)
    assert numbers(video) == [0]
    assert video.fps == 1


def test_a_video_of_pictures_shows_them_at_its_rate():
    pictures = [Image.new("RGB", SIZE, color) for color in ("red", "green", "blue")]
    video = Video.of(pictures, fps=2)
    assert video.times == (0, 0.5, 1)
    assert video.fps == 2
    assert [frame.getpixel((0, 0)) for frame in video.frames] == [(255, 0, 0), (0, 128, 0), (0, 0, 255)]


@pytest.mark.parametrize(
    ("pictures", "fps", "message"),
    [
        ([], 1, "at least one frame"),
        ([SIZE, (9, 9)], 1, "of one size"),
        ([SIZE], 0, "fps must be a number above 0"),
    ],
)
def test_what_is_no_video_is_refused(pictures, fps, message):
    with pytest.raises(UsageError, match=message):
        Video.of([Image.new("RGB", size) for size in pictures], fps=fps)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"frames": 0}, "frames must be a whole number in"),
        ({"frames": -1}, "frames must be a whole number in"),
        ({"frames": 10**25}, "frames must be a whole number in"),
        ({"fps": 0.0}, "fps must be a number in"),
        ({"fps": -1.0}, "fps must be a number in"),
        ({"fps": float("inf")}, "fps must be a number in"),
        ({"fps": float("nan")}, "fps must be a number in"),
        ({"fps": 1e300}, "fps must be a number in"),
        ({"frames": 2, "fps": 1.0}, "one of the two"),
    ],
)
def test_counts_that_make_no_sense_are_refused_before_anything_is_opened(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        Video.open("nowhere.mp4", **options)


@pytest.mark.parametrize("suffix", ["avi", "mp4", "mkv"])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.6])
def test_a_file_that_is_cut_short_is_refused(tmp_path, suffix, share):
    whole = write(tmp_path / f"whole.{suffix}", 60)
    content = whole.read_bytes()
    broken = tmp_path / f"broken.{suffix}"
    broken.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UsageError, match=f"broken.{suffix} is"):
        Video.open(broken, frames=3)


def test_a_film_that_was_trimmed_without_encoding_is_whole(tmp_path):
    """Its first frames are before zero and its header counts them: an edit list leaves them out."""
    whole, trimmed = write(tmp_path / "whole.mp4", 30), tmp_path / "trimmed.mp4"
    with av.open(str(whole)) as film, av.open(str(trimmed), "w") as out:
        stream = film.streams.video[0]
        copy = out.add_stream_from_template(stream)
        shift = int(0.2 / stream.time_base)
        for packet in film.demux(stream):
            if packet.size:
                packet.pts -= shift
                packet.dts -= shift
                packet.stream = copy
                out.mux(packet)
    video = Video.open(trimmed, frames=3)
    assert len(video.frames) == 3
    assert video.duration == pytest.approx(1, abs=0.25)


def test_the_duration_is_that_of_the_film(film):
    assert Video.open(film, frames=2).duration == pytest.approx(4)
    assert Video.of([Image.new("RGB", SIZE)] * 3, fps=2).duration == 1.5


def test_a_film_without_frames_is_refused(tmp_path):
    path = tmp_path / "empty.avi"
    with av.open(str(path), "w") as film:
        stream = film.add_stream("mpeg4", rate=5)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        film.start_encoding()
    with pytest.raises(UsageError, match=r"empty\.avi"):
        Video.open(path)


@pytest.mark.parametrize("content", [b"", b"not a film", b"\x00" * 5000])
def test_a_file_that_is_no_video_is_refused(tmp_path, content):
    path = tmp_path / "no.mp4"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"no\.mp4 is no video that can be read"):
        Video.open(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no such video"):
        Video.open(tmp_path / "nowhere.mp4")


def test_a_path_with_the_suffix_of_a_video_is_one(film):
    opened = MediaInput.of(str(film))
    assert len(opened.videos) == 1
    assert len(opened.frames) == 8


def test_pictures_beside_videos_are_refused(film):
    with pytest.raises(UsageError, match="not both"):
        MediaInput.of([film, Image.new("RGB", SIZE)])


def test_the_embedded_model_sees_a_video_as_pictures(embedded, film):
    prompt = embedded.encode(film, "what is the background?")
    frames = embedded.encode(Video.open(film).frames, "what is the background?")
    assert prompt.visual.cell.equal(frames.visual.cell)
    assert prompt.visual.embeds.equal(frames.visual.embeds)


def test_an_open_file_is_read_as_its_path_is(film):
    with film.open("rb") as file:
        video = Video.open(file, frames=5)
    assert numbers(video) == numbers(Video.open(film, frames=5))


def test_frames_that_take_more_room_than_there_is_are_not_decoded(film, monkeypatch):
    frame = Video.open(film, frames=1).frames[0]
    room = 5 * frame.width * frame.height
    assert len(read_film(film, "film", Sampling(frames=5), pixels=room).frames) == 5
    with pytest.raises(UsageError, match=r"^film has .* million pixels, there is room for "):
        read_film(film, "film", Sampling(frames=5), pixels=room - 1)
    # A header may lie: then it is the decoder that refuses.
    monkeypatch.setattr(module, "check_pixels", lambda name, count, most: None)
    monkeypatch.setattr(module, "MARGIN", 0)
    with pytest.raises(UsageError, match="is no video that can be read"):
        read_film(film, "film", Sampling(frames=5), pixels=room // 12)


def test_errors_about_an_open_file_name_it():
    with pytest.raises(UsageError, match=r"^trip\.mp4 is no video"):
        read_film(io.BytesIO(b"nothing"), "trip.mp4", Sampling())


@pytest.mark.parametrize("listed", ["twenty.mp4", "{film}"])
def test_a_playlist_that_names_another_file_is_no_video(film, monkeypatch, listed):
    monkeypatch.chdir(film.parent)
    playlist = f"ffconcat version 1.0\nfile {listed.format(film=film)}\n".encode()
    with pytest.raises(UsageError, match="is no video"):
        Video.open(playlist)
    (film.parent / "list.mp4").write_bytes(playlist)
    with pytest.raises(UsageError, match="is no video"):
        Video.open("list.mp4")
