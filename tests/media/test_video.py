"""Video: frames of a real file are those that were written, at their times; damaged files are refused."""

import io
import struct
from fractions import Fraction
from itertools import product

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from wordsight import UsageError, Video
from wordsight.media import video as module
from wordsight.media.inputs import MediaInput
from wordsight.media.video import Sampling, read_film

SIZE = (64, 48)


def shade(i):
    return 10 * i % 250 + 5


def write(path, count, *, fps=25, gop=12):
    """A film whose frame i is of one gray, shade(i)."""
    with av.open(str(path), "w") as film:
        stream = film.add_stream("mpeg4", rate=fps)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.gop_size, stream.options = gop, {"sc_threshold": "1000000000"}  # no other key frames
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


def test_frames_may_be_asked_for_by_their_numbers(film):
    video = Video.open(film, numbers=[7, 0, 19, 7])
    assert numbers(video) == [0, 7, 19]
    assert video.times == pytest.approx([0, 1.4, 3.8])
    file = io.BytesIO()
    shades = [Image.new("RGB", SIZE, (shade(i),) * 3) for i in range(4)]
    shades[0].save(file, "PNG", save_all=True, append_images=shades[1:], duration=100)
    assert numbers(Video.open(file, numbers=(3, 1))) == [1, 3]
    for each, count in ((film, 20), (file, 4)):
        with pytest.raises(UsageError, match=f"has {count} frames, counted from 0; there is no frame 20"):
            Video.open(each, numbers=[0, 20])


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
        ([SIZE], 0, r"fps must be a number in \(0, 1000\]"),
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
        ({"frames": 2, "fps": 1.0}, "expected frames or fps, not both"),
        ({"frames": 2, "numbers": [1]}, "expected frames or numbers, not both"),
        ({"numbers": []}, "at least one; got none"),
        ({"numbers": [-1]}, "numbers must be"),
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


def copied(source, target, change):
    """Copy the packets of a film that `change` leaves in, as it leaves them; its argument counts from 0."""
    with av.open(str(source)) as film, av.open(str(target), "w") as out:
        stream = film.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for i, packet in enumerate(film.demux(stream)):
            if packet.size and change(i, packet) is not False:
                packet.stream = copy
                out.mux(packet)
    return target


def test_a_film_that_was_trimmed_without_encoding_begins_where_it_was_cut(tmp_path):
    """Its first frames are before zero: an edit list hides them, but others are made of them."""

    def earlier(i, packet):
        packet.pts -= int(0.2 / packet.time_base)
        packet.dts -= int(0.2 / packet.time_base)

    for suffix in ("mp4", "mov"):
        whole = write(tmp_path / f"whole.{suffix}", 24)
        video = Video.open(copied(whole, tmp_path / f"trimmed.{suffix}", earlier), fps=25)
        assert numbers(video) == list(range(5, 24))
        assert video.times == pytest.approx([i / 25 for i in range(19)])
        assert video.duration == pytest.approx(19 / 25)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_recording_that_starts_late_starts_at_its_first_key_frame(tmp_path, suffix):
    whole = write(tmp_path / f"whole.{suffix}", 24, gop=12)
    late = copied(whole, tmp_path / f"late.{suffix}", lambda i, packet: i >= 5)
    video = Video.open(late, fps=25)
    assert numbers(video) == list(range(12, 24))
    assert video.times == pytest.approx([i / 25 for i in range(12)], abs=1e-3)


def test_frames_are_chosen_by_time_not_by_number(tmp_path):
    """A recording of a screen: nine frames at once, then one after eight seconds."""
    path = tmp_path / "screen.mkv"
    starts = [*range(0, 270, 30), 8000]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=1000)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for i, start in enumerate(starts):
            frame = av.VideoFrame.from_ndarray(np.full((SIZE[1], SIZE[0], 3), shade(i), np.uint8))
            frame.pts, frame.time_base = start, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    assert numbers(Video.open(path)) == [0, 8, 9]
    assert Video.open(path).times == pytest.approx([0, 0.24, 8])
    assert numbers(Video.open(path, frames=1000)) == list(range(10))


TURNS = [
    (a, b, c, d)
    for a, b, c, d in product((-1, 0, 1), repeat=4)
    if a * d - b * c in (-1, 1) and abs(a) + abs(b) == 1 and abs(c) + abs(d) == 1
]


@pytest.mark.parametrize("matrix", TURNS)
def test_films_are_turned_and_flipped_as_they_say(tmp_path, matrix):
    """Of a corner at (x, y), from the center, the film says that it is shown at (a x + c y, b x + d y)."""
    a, b, c, d = matrix
    colors = {(-1, -1): "red", (1, -1): "blue", (-1, 1): "white", (1, 1): "black"}
    stored = blocks(colors, (96, 64))
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = *stored.size, "yuv420p"
        out.mux(stream.encode(av.VideoFrame.from_image(stored)))
        out.mux(stream.encode())
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44  # behind times, the number of the track and its volume
    content[place : place + 20] = struct.pack(">5i", a << 16, b << 16, 0, c << 16, d << 16)
    (frame,) = Video.open(bytes(content)).frames
    expected = {(a * x + c * y, b * x + d * y): color for (x, y), color in colors.items()}
    assert frame.size == ((64, 96) if a == 0 else (96, 64))
    assert np.abs(np.asarray(frame, int) - np.asarray(blocks(expected, frame.size), int)).mean() < 12


def blocks(colors, size):
    """Four quarters of these colors, by the signs of their places from the center."""
    picture = Image.new("RGB", size)
    width, height = (side // 2 for side in size)
    for (x, y), color in colors.items():
        left, top = width * (x > 0), height * (y > 0)
        picture.paste(color, (left, top, left + width, top + height))
    return picture


def test_eight_ways_to_turn_are_tried():
    assert len(TURNS) == 8


def test_pixels_that_are_wide_make_the_frame_wide(tmp_path):
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)
        out.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", SIZE))))
        out.mux(stream.encode())
    assert Video.open(path).frames[0].size == (96, 48)


def pictures_as_packets(sizes):
    """A film of JPEG files, which may differ in size."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream = out.add_stream("mjpeg", rate=5)
        stream.width, stream.height, stream.pix_fmt = *sizes[0], "yuvj420p"
        for i, size in enumerate(sizes):
            picture = io.BytesIO()
            Image.new("RGB", size, (shade(i),) * 3).save(picture, "JPEG", quality=95, subsampling=2)
            packet = av.Packet(picture.getvalue())
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, i, i, Fraction(1, 5)
            packet.is_keyframe = True
            out.mux(packet)
    return file.getvalue()


def test_frames_that_change_their_size_are_scaled_to_the_first():
    video = Video.open(pictures_as_packets([(64, 48), (32, 24), (48, 64)]))
    assert numbers(video) == [0, 1, 2]
    assert {frame.size for frame in video.frames} == {(64, 48)}


def test_a_cover_is_not_the_film(tmp_path):
    cover = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(cover, "PNG")
    path = write(tmp_path / "plain.mp4", 6)
    with av.open(str(path)) as film, av.open(str(tmp_path / "covered.mp4"), "w") as out:
        picture = out.add_stream("png", rate=1)
        picture.width, picture.height, picture.pix_fmt = 32, 32, "rgb24"
        picture.disposition = Disposition.attached_pic
        copy = out.add_stream_from_template(film.streams.video[0])
        packet = av.Packet(cover.getvalue())
        packet.stream, packet.pts, packet.dts, packet.time_base = picture, 0, 0, Fraction(1, 1)
        packet.is_keyframe = True
        out.mux(packet)
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    video = Video.open(tmp_path / "covered.mp4")
    assert numbers(video) == list(range(6))


def sound():
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def test_sound_alone_is_no_film():
    with pytest.raises(UsageError, match="has no moving pictures, only sound"):
        Video.open(sound())


def test_a_film_of_an_unknown_code_is_refused(film):
    content = film.read_bytes().replace(b"mp4v", b"zzzz").replace(b"esds", b"zzzz")
    for pixels in (10**6, 10**9):
        with pytest.raises(
            UsageError, match=r"coded in a way that is not known here|is no video that can be"
        ):
            read_film(io.BytesIO(content), "strange.mp4", Sampling(), pixels=pixels)


@pytest.mark.parametrize(("given", "shown"), [(0, 100), (10, 100), (20, 20), (500, 500)])
def test_an_animation_is_as_fast_as_in_a_browser(given, shown):
    file = io.BytesIO()
    frames = [Image.new("RGB", SIZE, (shade(3 * i),) * 3) for i in range(4)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=given)
    video = Video.open(file)
    assert video.times == pytest.approx([i * shown / 1000 for i in range(4)])
    assert video.duration == pytest.approx(4 * shown / 1000)
    assert numbers(Video.open(file, frames=2)) == [0, 9]


def test_the_picture_for_readers_that_know_no_animations_is_no_frame_of_it():
    file = io.BytesIO()
    first, *others = [Image.new("RGB", SIZE, (shade(i),) * 3) for i in range(3)]
    first.save(file, "PNG", save_all=True, append_images=others, duration=100, default_image=True)
    assert numbers(Video.open(file)) == [1, 2]


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


def test_an_animation_whose_later_frame_is_enormous_is_refused(tmp_path):
    file = io.BytesIO()
    first, *others = (Image.new("RGB", (8, 8), shade) for shade in ("red", "green", "blue"))
    first.save(file, "GIF", save_all=True, append_images=others)
    data = bytearray(file.getvalue())
    place = data.rindex(b"\x2c\x00\x00\x00\x00\x08\x00\x08\x00")  # of the last frame: its place and size
    data[place + 5 : place + 9] = b"\xff\xff\xff\xff"
    (tmp_path / "a.gif").write_bytes(data)
    with pytest.raises(UsageError, match="is no video that can be read"):
        MediaInput.of(tmp_path / "a.gif")


@pytest.mark.parametrize("name", ["PatchWelcomeError", "InvalidDataError", "UndefinedError"])
def test_every_error_of_the_decoder_is_a_sentence(film, monkeypatch, name):
    def fails(*given, **options):
        raise getattr(av.error, name)(1, "not yet implemented")

    monkeypatch.setattr(av, "open", fails)
    with pytest.raises(
        UsageError, match=r"is no video that can be read, or is damaged \(not yet implemented"
    ):
        Video.open(film)
