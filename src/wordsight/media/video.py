"""Video: frames of a film, sampled by time, from a file, an animated picture or pictures."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from annotated_types import Ge, Gt
from PIL import Image, ImageSequence

from wordsight._utils.options import check_options
from wordsight.errors import MediaError, UsageError
from wordsight.media import formats
from wordsight.media.images import DAMAGE, Picture, check_pixels, load_picture, local_path, upright_rgb

MARGIN = 2**16  # pixels around small frames that decoders work with
SKIP = 0.5  # seconds that are sooner decoded than sought
HEAD = 512  # bytes that tell what a file is
CUT = 0.1  # share of a film that its end may lack without its being cut short


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which frames of a film: `frames` of them, evenly over its time (8 by default); or `fps` a second."""

    frames: Annotated[int, Ge(1)] | None = None
    fps: Annotated[float, Gt(0)] | None = None

    def __post_init__(self) -> None:
        check_options(self)
        if self.fps is not None and (self.frames is not None or math.isinf(self.fps)):
            raise UsageError(
                f"expected frames or a finite fps, one of the two; got frames={self.frames}, fps={self.fps}"
            )

    def times(self, first: float, last: float, end: float) -> list[float]:
        """When to look at a film whose frames are shown from `first` to `last`, the last one until `end`."""
        if self.fps is None:
            count = 8 if self.frames is None else self.frames
            return [first + i * (last - first) / max(1, count - 1) for i in range(count)]
        return [first + i / self.fps for i in range(max(1, math.ceil((end - first) * self.fps - 1e-6)))]


@dataclass(frozen=True, eq=False)
class Video:
    """Frames in order, RGB and of one size, when each is shown, and how long the film is, in seconds."""

    frames: tuple[Image.Image, ...]
    times: tuple[float, ...]
    duration: float

    @property
    def fps(self) -> float:
        """Frames a second, as far apart as these are; 1 for a single one."""
        span = self.times[-1] - self.times[0]
        return (len(self.frames) - 1) / span if span > 0 else 1.0

    @classmethod
    def of(cls, pictures: Sequence[Picture], *, fps: float = 1.0) -> Video:
        """A video of pictures that are shown `fps` a second. Raises MediaError if they are none or differ in
        size.
        """
        frames = tuple(load_picture(picture) for picture in pictures)
        if not frames:
            raise MediaError("a video needs at least one frame; got none")
        if sizes := {frame.size for frame in frames} - {frames[0].size}:
            raise MediaError(
                f"the frames of a video are of one size; got {frames[0].size} and {sorted(sizes)[0]}"
            )
        if not 0 < fps < math.inf:
            raise UsageError(f"fps must be a number above 0, got {fps}")
        return cls(frames, tuple(i / fps for i in range(len(frames))), len(frames) / fps)

    @classmethod
    def open(
        cls,
        source: str | os.PathLike[str] | bytes | BinaryIO,
        *,
        frames: int | None = None,
        fps: float | None = None,
    ) -> Video:
        """So many `frames` of a file, evenly over its time from its first to its last (8 by default), or
        `fps` of them a second: at each of these times, the frame that is on the screen.

        Edit lists, rotation, flips and the shape of pixels are honored; frames of another size than the
        first are scaled to it. Animated GIF, WebP, PNG and AVIF are films too. Raises MediaError if it is no
        film, is damaged or cut short, or holds no frame.
        """
        sampling = Sampling(frames=frames, fps=fps)
        if isinstance(source, (bytes, bytearray)):
            return read_film(io.BytesIO(source), "the bytes given", sampling)
        if isinstance(source, (str, os.PathLike)):
            path = local_path(source, "video")
            return read_film(path, str(path), sampling)
        return read_film(source, str(getattr(source, "name", "the file object")), sampling)


def read_film(file: Path | BinaryIO, name: str, sampling: Sampling, *, pixels: int = formats.PIXELS) -> Video:
    """The frames of a file, which errors call `name`, of at most so many pixels in all of them."""
    try:
        if _is_animation(file):
            return _animation(file, name, sampling, pixels)
        try:
            return _sampled(_Film(file, name, can_seek=True), sampling, pixels)
        except _CannotSeekError:
            return _sampled(_Film(file, name, can_seek=False), sampling, pixels)
    except UsageError:
        raise
    except (*DAMAGE, AttributeError) as error:  # FFmpeg's errors are OSErrors or ValueErrors
        raise MediaError(f"{name} is no video that can be read, or is damaged ({error})") from error


def is_moving(file: Path | BinaryIO) -> bool:
    """Whether a file holds a film or an animated picture, by its content."""
    return formats.looks_like_film(_head(file)) or _is_animation(file)


def _head(file: Path | BinaryIO) -> bytes:
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return opened.read(HEAD)
    file.seek(0)
    head = file.read(HEAD)
    file.seek(0)
    return head


def _is_animation(file: Path | BinaryIO) -> bool:
    """Whether the file is a picture that moves."""
    try:
        with Image.open(file, formats=sorted(formats.ANIMATED)) as image:
            return bool(getattr(image, "is_animated", False))
    except DAMAGE:
        return False
    finally:
        if not isinstance(file, Path):
            file.seek(0)


def _animation(file: Path | BinaryIO, name: str, sampling: Sampling, pixels: int) -> Video:
    """The frames of an animated picture, by the durations that it gives them."""
    with Image.open(file, formats=sorted(formats.ANIMATED)) as image:
        starts, end = [], 0.0
        for frame in ImageSequence.Iterator(image):
            frame.load()  # some formats give the duration only then
            starts.append(end)
            end += max(10.0, float(frame.info.get("duration", 100))) / 1000  # browsers' rule for no duration
        wanted = sampling.times(0.0, starts[-1], end)
        check_pixels(name, image.width * image.height * len(wanted), pixels)
        chosen = {max(i for i, start in enumerate(starts) if start <= time + 1e-6): None for time in wanted}
        found = {}
        for i, frame in enumerate(ImageSequence.Iterator(image)):
            if i in chosen:
                found[i] = upright_rgb(frame.convert("RGBA") if frame.has_transparency_data else frame, name)
    return Video(tuple(found[i] for i in chosen), tuple(starts[i] for i in chosen), end)


class _CannotSeekError(Exception):
    """A film has to be read from its beginning."""


@dataclass(frozen=True)
class _Film:
    """A file of a film, which errors call `name`; its frames are sought, or read one after another."""

    file: Path | BinaryIO
    name: str
    can_seek: bool

    @contextmanager
    def opened(self) -> Iterator[tuple[Any, Any]]:
        """The container from its beginning, and its stream of pictures. A cover is none."""
        if find_spec("av") is None:
            raise MediaError("reading videos needs PyAV: pip install 'wordsight[video]'")
        given: Any = str(self.file) if isinstance(self.file, Path) else self.file
        if not isinstance(self.file, Path):
            self.file.seek(0)
        with import_module("av").open(given, options={"format_whitelist": formats.FILMS}) as container:
            if not container.streams.video:
                raise MediaError(f"{self.name} has no pictures, only sound or text")
            stream = container.streams.best("video") or container.streams.video[0]
            if stream.codec_context is None:
                raise MediaError(f"{self.name}: its pictures are coded in a way that is not known here")
            stream.codec_context.thread_type = "AUTO"
            yield container, stream

    def sought(self, container: Any, stream: Any, time: float) -> Iterator[Any]:
        """The frames from one that is on the screen at this time, or a little before."""
        for early in (0.0, 2.0, 10.0):
            try:
                container.seek(math.floor((time - early) / stream.time_base), stream=stream)
                frames = _frames(container, stream)
                begin = next(frames, None)
            except DAMAGE:
                continue
            if begin is not None and begin.time <= time + 1e-6:
                return chain([begin], frames)
        raise _CannotSeekError


def _sampled(film: _Film, sampling: Sampling, pixels: int) -> Video:
    with film.opened() as (container, stream):
        stream.codec_context.options = {"max_pixels": str(2 * pixels + MARGIN)}
        first = next(_frames(container, stream), None)
        if first is None:
            raise MediaError(f"{film.name} is a video with no frames")
        last, end = _last(film, container, stream, first)
    wanted = sampling.times(first.time, last, end)
    check_pixels(film.name, first.width * first.height * len(wanted), pixels)
    with film.opened() as (container, stream):
        chosen = {frame.time: _upright(frame, stream) for frame in _at(film, container, stream, wanted)}
    size = next(iter(chosen.values())).size
    frames = (
        each if each.size == size else each.resize(size, Image.Resampling.BICUBIC) for each in chosen.values()
    )
    return Video(tuple(frames), tuple(time - first.time for time in chosen), end - first.time)


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """The frames that are presented, from where the container stands."""
    return (frame for frame in container.decode(stream) if frame.pts is not None)


def _last(film: _Film, container: Any, stream: Any, first: Any) -> tuple[float, float]:
    """When the last frame is shown, and until when. Raises MediaError if the header announces far more."""
    announced = _announced(container, stream)
    step = 1 / float(stream.average_rate) if stream.average_rate else 0.0
    frames = _frames(container, stream)
    if film.can_seek and announced > first.time + 1:
        frames = film.sought(container, stream, announced - 1)
    last = max((frame.time for frame in frames), default=first.time)
    if announced - last > max(2 * step + 0.1, CUT * (announced - first.time)):
        raise MediaError(
            f"{film.name} is cut short: its header announces {announced:.1f} s, its last picture is at "
            f"{last:.1f} s; save it again"
        )
    return last, max(announced, last + step)


def _announced(container: Any, stream: Any) -> float:
    """The end that the header gives, in seconds; 0 if it gives none."""
    if stream.duration:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    return float(((container.start_time or 0) + (container.duration or 0)) / 1e6)


def _at(film: _Film, container: Any, stream: Any, wanted: Sequence[float]) -> Iterator[Any]:
    """For every time, ascending, the frame that is on the screen: the last that begins by then."""
    coming = _frames(container, stream)
    current = following = next(coming)
    for time in wanted:
        if film.can_seek and following is not None and time - following.time > SKIP:
            coming = film.sought(container, stream, time)
            following = next(coming, None)
        while following is not None and following.time <= time + 1e-6:
            current, following = following, next(coming, None)
        yield current


def _upright(frame: Any, stream: Any) -> Image.Image:
    """A frame as it is to be seen: square pixels, turned and flipped as the film says."""
    picture: Image.Image = frame.to_image()
    aspect = stream.sample_aspect_ratio
    if aspect and aspect > 0 and aspect != 1:
        picture = picture.resize(
            (max(1, round(picture.width * float(aspect))), picture.height), Image.Resampling.BICUBIC
        )
    matrix = next((bytes(data) for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return picture
    # x' = a x + c y, y' = b x + d y, in 16.16
    a, b, _, c, d = (int.from_bytes(matrix[4 * i : 4 * i + 4], "little", signed=True) for i in range(5))
    if abs(b) > abs(a):
        picture, a, d = picture.transpose(Image.Transpose.TRANSPOSE), c, b
    if a < 0:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if d < 0 else picture
