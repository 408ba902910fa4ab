"""Video: frames sampled by time, from a file of a film, an animated picture, or pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from annotated_types import Ge, Interval
from PIL import Image, ImageSequence, UnidentifiedImageError

from wordsight._utils.options import check_options
from wordsight.errors import MediaError, UsageError
from wordsight.media import formats
from wordsight.media.images import (
    DAMAGE,
    File,
    Picture,
    check_pixels,
    is_single,
    load_picture,
    open_picture,
    seekable,
    upright_rgb,
)

FRAMES = 8  # unless something else is asked for
MARGIN = 2**16  # pixels around small frames that decoders work with
SOON, FAR = 0.5, 10.0  # seconds that are sooner decoded than sought, and those that are sooner sought
EXACT = 1e-6  # seconds that times are off by
CUT = 0.1  # share of a film that its end may lack without its being cut short
SHORTEST, USUAL = 10, 100  # milliseconds: frames of animations that say less are shown as long as in browsers


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which frames of a video: `frames` of them, evenly over its time, 8 by default; or `fps` a second; or
    those of these `numbers`, from 0.
    """

    frames: Annotated[int, Interval(ge=1, le=10_000)] | None = None
    fps: Annotated[float, Interval(gt=0, le=1000)] | None = None
    numbers: tuple[Annotated[int, Ge(0)], ...] | None = None

    def __post_init__(self) -> None:
        check_options(self)
        given = [name for name in ("frames", "fps", "numbers") if getattr(self, name) is not None]
        if len(given) > 1:
            raise UsageError(f"expected {' or '.join(given)}, not both")
        if self.numbers == ():
            raise UsageError("numbers of frames are at least one; got none")

    def count(self, first: float, end: float) -> int:
        """How often to look at a film that lasts from `first` to `end`."""
        if self.numbers is not None:
            return len(set(self.numbers))
        if self.fps is None:
            return self.frames or FRAMES
        return max(1, math.ceil((end - first) * self.fps - 1e-6))

    def times(self, first: float, last: float, end: float) -> Iterator[float]:
        """When to look at a film whose frames are shown from `first` to `last`, the last one until `end`."""
        count = self.count(first, end)
        step = (last - first) / max(1, count - 1) if self.fps is None else 1 / self.fps
        return (first + i * step for i in range(count))


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
        if is_single(pictures) and getattr(pictures, "ndim", 0) != 4:
            raise MediaError(
                f"a video is made of a list of pictures; got {type(pictures).__name__}; "
                "Video.open reads a film"
            )
        if not 0 < fps < math.inf:
            raise UsageError(f"fps must be a number above 0, got {fps}")
        frames = tuple(load_picture(picture) for picture in pictures)
        if not frames:
            raise MediaError("a video needs at least one frame; got none")
        if sizes := {frame.size for frame in frames} - {frames[0].size}:
            raise MediaError(
                f"the frames of a video are of one size; got {frames[0].size} and {sorted(sizes)[0]}"
            )
        return cls(frames, tuple(i / fps for i in range(len(frames))), len(frames) / fps)

    @classmethod
    def open(
        cls,
        file: File,
        *,
        frames: int | None = None,
        fps: float | None = None,
        numbers: Iterable[int] | None = None,
    ) -> Video:
        """So many `frames` of a file, evenly over its time from its first to its last (8 by default), or
        `fps` of them a second: at each of these times, the frame that is on the screen. Or the frames of
        these `numbers`, counted from 0, in the order of the film.

        Edit lists, rotation, flips and the shape of pixels are honored; frames of another size than the
        first are scaled to it. Animated GIF, WebP, PNG and AVIF are films too. Raises MediaError if it is no
        film, is damaged or cut short, or holds no frame.
        """
        sampling = Sampling(frames=frames, fps=fps, numbers=numbers if numbers is None else tuple(numbers))
        opened, name = seekable(file, "video")
        if kind_of(opened, name) == "picture":
            raise MediaError(f"{name} is a single picture; expected a film, or use Video.of for pictures")
        return read_film(opened, name, sampling)


def kind_of(file: Path | IO[bytes], name: str) -> Literal["picture", "animation", "film"]:
    """What a file holds, by its content; what is neither a picture nor an animation may be a film.

    Raises MediaError for HEIC if what reads it is not installed.
    """
    try:
        with open_picture(file) as image:
            is_moving = image.format in formats.ANIMATED and getattr(image, "is_animated", False)
            return "animation" if is_moving else "picture"
    except UnidentifiedImageError:
        if formats.is_heic(_head(file)):
            raise MediaError(f"{name} is HEIC; to read it, pip install 'wordsight[heic]'") from None
        return "film"
    except _damage():
        return "picture"  # whose reader says what is wrong with it


def _head(file: Path | IO[bytes]) -> bytes:
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return opened.read(12)
    file.seek(0)
    return file.read(12)


def read_film(
    file: Path | IO[bytes], name: str, sampling: Sampling, *, pixels: int = formats.PIXELS
) -> Video:
    """The frames of a file that can be read more than once, which errors call `name`, of at most so many
    pixels in all of them.
    """
    try:
        if kind_of(file, name) == "animation":
            return _animation(file, name, sampling, pixels)
        try:
            return _sampled(file, name, sampling, pixels, True)
        except _CannotSeekError:
            return _sampled(file, name, sampling, pixels, False)
    except UsageError:
        raise
    except _damage() as error:
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"{name} is no video that can be read, or is damaged ({reason})") from error


def _animation(file: Path | IO[bytes], name: str, sampling: Sampling, pixels: int) -> Video:
    """The frames of an animated picture, by the durations that it gives them."""
    with open_picture(file) as image:
        skipped = int(getattr(image, "default_image", False))  # of a PNG, for readers that know no animations
        starts, end = [], 0.0
        for frame in list_frames(image, skipped):
            frame.load()  # some formats give the duration only then
            starts.append(end)
            shown = float(frame.info.get("duration", 0))
            end += (shown if shown > SHORTEST else USUAL) / 1000
        wanted = sampling.times(0.0, starts[-1], end)
        chosen = {max(i for i, start in enumerate(starts) if start <= time + EXACT): None for time in wanted}
        if sampling.numbers is not None:
            _check_number(name, max(sampling.numbers), len(starts))
            chosen = dict.fromkeys(sorted(sampling.numbers))
        check_pixels(name, image.width * image.height * len(chosen), pixels)
        found = {
            i: upright_rgb(frame.convert("RGBA") if frame.has_transparency_data else frame, name)
            for i, frame in enumerate(list_frames(image, skipped))
            if i in chosen
        }
    return Video(tuple(found[i] for i in chosen), tuple(starts[i] for i in chosen), end)


def list_frames(image: Image.Image, skipped: int) -> Iterator[Image.Image]:
    """The frames of an animation but the first so many."""
    return (frame for i, frame in enumerate(ImageSequence.Iterator(image)) if i >= skipped)


class UnknownFilm(MediaError):
    """A file is of no format of films."""


class _CannotSeekError(Exception):
    """A film has to be read from its beginning."""


@dataclass(frozen=True)
class _Film:
    """An open film, whose frames are sought, or read one after another from its beginning."""

    name: str
    container: Any
    stream: Any
    can_seek: bool

    def frames(self) -> Iterator[Any]:
        """The frames that are presented, from the first key frame after where the film stands."""
        is_complete = False  # a frame before a key frame is made of what is not there
        for packet in self.container.demux(self.stream):
            is_complete = is_complete or packet.is_keyframe
            if is_complete:
                yield from (frame for frame in packet.decode() if frame.pts is not None)

    def sought(self, time: float) -> Iterator[Any]:
        """The frames from one that is on the screen at this time, or a little before."""
        for early in (0.0, 2.0, 10.0):
            try:
                self.container.seek(math.floor((time - early) / self.stream.time_base), stream=self.stream)
                frames = self.frames()
                begin = next(frames, None)
            except _damage():
                continue
            if begin is not None and begin.time <= time + EXACT:
                return chain([begin], frames)
        raise _CannotSeekError

    def ends(self) -> tuple[Any, Any, float]:
        """The first frame, the last one, and until when that is shown. Raises MediaError if there is none, or
        the header announces far more.
        """
        frames = self.frames()
        first = next(frames, None)
        if first is None:
            raise MediaError(f"{self.name} is a video with no frames")
        announced, about = _announced(self.stream), _about(self.container)
        if self.can_seek and (announced or about) > first.time + 1:
            frames = self.sought((announced or about) - 1)
        else:
            frames = chain([first], frames)
        last, gap = next(frames), 0.0
        for frame in frames:
            gap = max(gap, frame.time - last.time)
            last = max(last, frame, key=lambda frame: frame.time)
        rate = float(self.stream.average_rate or 0)
        end = last.time + max(float((last.duration or 0) * self.stream.time_base), 1 / rate if rate else 0.0)
        if announced - end > max(0.1, gap, CUT * (announced - first.time)):
            raise MediaError(
                f"{self.name} is cut short: its header announces {announced:.1f} s, its last picture is at "
                f"{last.time:.1f} s; save it again"
            )
        return first, last, max(announced, end)

    def at(self, times: Iterable[float], first: Any, last: Any) -> Iterator[Any]:
        """The frames that are on the screen at these times, which ascend, each once: the last that begins by
        then.
        """
        coming = None if self.can_seek else self.frames()
        current, following, shown = first, None, None
        for time in times:
            if time >= last.time - EXACT:
                current = last
            elif time > first.time + EXACT:
                if coming is None or self._is_far(following, time):
                    coming, following = self.sought(time), None
                following = following or next(coming, None)
                while following is not None and following.time <= time + EXACT:
                    current, following = following, next(coming, None)
            if shown is None or current.time > shown.time:
                yield current
            shown = current

    def numbered(self, numbers: set[int]) -> Iterator[Any]:
        """The frames of these numbers, from the first. Raises MediaError if there are not as many."""
        count = 0
        for count, frame in enumerate(self.frames(), 1):
            if count - 1 in numbers:
                yield frame
            if count > max(numbers):
                return
        _check_number(self.name, max(numbers), count)

    def _is_far(self, frame: Any, time: float) -> bool:
        """Whether this time is sooner sought than reached by decoding what follows the frame."""
        if not self.can_seek or frame is None or time - frame.time < SOON:
            return False
        index = self.stream.index_entries  # of key frames that are known
        place = index.search_timestamp(math.floor(time / self.stream.time_base))
        is_known = place >= 0 and index[place].timestamp * self.stream.time_base > frame.time
        return bool(is_known or time - frame.time > FAR)


def _sampled(file: Path | IO[bytes], name: str, sampling: Sampling, pixels: int, can_seek: bool) -> Video:
    with ExitStack() as opened:
        film = opened.enter_context(_opened(file, name, can_seek))
        film.stream.codec_context.options = {"max_pixels": str(2 * pixels + MARGIN)}
        first, last, end = film.ends()
        most = min(sampling.count(first.time, end), _count(film.stream, end - first.time))
        check_pixels(name, first.width * first.height * most, pixels)
        if not can_seek or sampling.numbers is not None:
            film = opened.enter_context(_opened(file, name, can_seek))
        times: list[float] = []
        pictures: list[Image.Image] = []
        total = 0
        chosen = film.at(sampling.times(first.time, last.time, end), first, last)
        if sampling.numbers is not None:
            chosen = film.numbered(set(sampling.numbers))
        for frame in chosen:
            total += frame.width * frame.height  # the header may lie
            check_pixels(name, total, pixels)
            picture = _upright(frame, film.stream)
            size = pictures[0].size if pictures else picture.size
            pictures.append(
                picture if picture.size == size else picture.resize(size, Image.Resampling.BICUBIC)
            )
            times.append(frame.time - first.time)
    return Video(tuple(pictures), tuple(times), end - first.time)


@contextmanager
def _opened(file: Path | IO[bytes], name: str, can_seek: bool) -> Iterator[_Film]:
    """The film at its beginning. A cover is none."""
    with _container(file, name) as container:
        if not len(container.streams):
            raise UnknownFilm(f"{name} is no video that can be read, or is damaged (it holds nothing)")
        cover = import_module("av.stream").Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & cover]
        if not streams:
            raise MediaError(f"{name} has no moving pictures, only sound, text or a cover")
        best = container.streams.best("video")
        stream = best if best in streams else streams[0]
        if stream.codec_context is None:
            raise MediaError(f"the pictures of {name} are coded in a way that is not known here")
        stream.codec_context.thread_type = "AUTO"
        yield _Film(name, container, stream, can_seek)


def _damage() -> tuple[type[Exception], ...]:
    """What Pillow and FFmpeg raise where a file is damaged."""
    kinds = (*DAMAGE, AttributeError, Image.DecompressionBombError)
    return kinds if find_spec("av") is None else (*kinds, import_module("av").FFmpegError)


def _container(file: Path | IO[bytes], name: str) -> Any:
    if find_spec("av") is None:
        raise UnknownFilm(f"{name} is no picture; to read videos, pip install 'wordsight[video]'")
    given: Any = f"file:{file.absolute()}" if isinstance(file, Path) else file
    if not isinstance(file, Path):
        file.seek(0)
    try:
        return import_module("av").open(given, options={"format_whitelist": formats.VIDEOS})
    except _damage() as error:
        reason = getattr(error, "strerror", None) or error
        raise UnknownFilm(f"{name} is no video that can be read, or is damaged ({reason})") from error


def _check_number(name: str, number: int, count: int) -> None:
    if number >= count:
        raise MediaError(f"{name} has {count} frames, counted from 0; there is no frame {number}")


def _count(stream: Any, seconds: float) -> float:
    """How many frames there are at most, by the header."""
    rate = float(stream.average_rate or 0)
    return stream.frames or (math.ceil(seconds * rate) + 2 if rate else math.inf)


def _announced(stream: Any) -> float:
    """The end that the header gives the stream, in seconds, or its tag in Matroska and WebM; else 0."""
    if stream.duration:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    tag = stream.metadata.get("DURATION", "0:0:0").split(":")
    return float(sum(60**power * float(part) for power, part in enumerate(reversed(tag))))


def _about(container: Any) -> float:
    """The end of the longest stream, in seconds; 0 if it is not known."""
    return float(((container.start_time or 0) + (container.duration or 0)) / 1e6)


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
