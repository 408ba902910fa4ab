"""Video: frames of a film, from a file or from pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from wordsight.errors import MediaError, UsageError
from wordsight.media.images import Picture, check_pixels, load_picture

SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})
MARGIN = 2**16  # pixels around small frames that decoders work with
# Of files with those suffixes. A playlist, which makes the decoder open other files, is none of them.
FORMATS = "avi,matroska,mov,mp4,mpeg,mpegts,mpegvideo,webm"


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
        if not fps > 0:
            raise UsageError(f"fps must be above 0, got {fps}")
        return cls(frames, tuple(i / fps for i in range(len(frames))), len(frames) / fps)

    @classmethod
    def open(cls, path: str | Path, *, frames: int | None = None, fps: float | None = None) -> Video:
        """So many `frames` of a file, evenly spread from its first to its last (8 by default), or `fps` of
        them a second.

        Raises MediaError if the file is no video, is damaged, or holds no frame.
        """
        if not Path(path).is_file():
            raise MediaError(f"no such video: {path}; expected the path of a video file")
        return cls.read(str(path), str(path), frames=frames, fps=fps)

    @classmethod
    def read(
        cls,
        file: str | BinaryIO,
        name: str,
        *,
        frames: int | None = None,
        fps: float | None = None,
        pixels: int | None = None,
    ) -> Video:
        """The same from an open file, which errors call `name`; of at most so many pixels in all frames."""
        if (frames is not None and frames < 1) or (fps is not None and not fps > 0) or (frames and fps):
            raise UsageError(
                f"expected frames from 1 on, or fps above 0, one of the two; got frames={frames}, fps={fps}"
            )
        av = _decoder()
        try:
            with _film(av, file) as film:
                times, end, is_cut = _times(film)
            wanted = {times[i]: None for i in _chosen(times, 8 if frames is None else frames, fps)}
            with _film(av, file) as film:
                _limit(film, name, len(wanted), pixels)
                found = {
                    time: _upright(frame)
                    for frame in film.decode(video=0)
                    if frame.pts is not None and (time := float(frame.pts * frame.time_base)) in wanted
                }
        except MediaError:
            raise
        except (av.error.FFmpegError, IndexError, ValueError) as error:
            raise MediaError(f"{name} is no video that can be read, or is damaged ({error})") from error
        if not times:
            raise MediaError(f"{name} is a video with no frames")
        if is_cut or set(wanted) - set(found):
            raise MediaError(f"{name} is cut short: it holds less than its header announces; save it again")
        offsets = tuple(time - times[0] for time in wanted)
        return cls(tuple(found[time] for time in wanted), offsets, end - times[0])


def is_video(path: str | Path) -> bool:
    """Whether this is the path of a video, by its suffix."""
    return Path(path).suffix.lower() in SUFFIXES


def _decoder() -> Any:
    if find_spec("av") is None:
        raise MediaError("reading videos needs PyAV: pip install 'wordsight[video]'")
    return import_module("av")


def _film(av: Any, file: str | BinaryIO) -> Any:
    """The file, opened from its beginning."""
    if not isinstance(file, str):
        file.seek(0)
    return av.open(file, options={"format_whitelist": FORMATS})


def _limit(film: Any, name: str, frames: int, pixels: int | None) -> None:
    """Let the decoder refuse frames that would take more room than there is, whatever the header says."""
    if pixels is None:
        return
    decoder = film.streams.video[0].codec_context
    check_pixels(name, decoder.width * decoder.height * frames, pixels)
    decoder.options = {"max_pixels": str(2 * pixels // max(1, frames) + MARGIN)}


def _times(film: Any) -> tuple[list[float], float, bool]:
    """When each frame is shown and when the last one ends, from the packets alone; and whether the header
    announces a later end.
    """
    stream = film.streams.video[0]
    packets = [packet for packet in film.demux(stream) if packet.size and packet.pts is not None]
    if not packets:
        return [], 0.0, False
    times = sorted(float(packet.pts * stream.time_base) for packet in packets)
    frame = 1 / float(stream.average_rate) if stream.average_rate else 0.0
    end = max(float((packet.pts + (packet.duration or 0)) * stream.time_base) for packet in packets)
    announced = _announced(stream)
    return times, max(end, times[-1] + frame), bool(frame) and announced - end > 1.5 * frame


def _announced(stream: Any) -> float:
    """The end that the header tells, in seconds: of the stream, or its tag in Matroska and WebM; else 0."""
    if stream.duration:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    tag = stream.metadata.get("DURATION", "0:0:0").split(":")
    return float(sum(60**power * float(part) for power, part in enumerate(reversed(tag))))


def _chosen(times: list[float], frames: int, fps: float | None) -> list[int]:
    """The indices of the frames to keep, in order."""
    if not times:
        return []
    if fps is None:
        count = min(frames, len(times))
        return [round(i * (len(times) - 1) / max(1, count - 1)) for i in range(count)]
    chosen, due = [], times[0]
    for i, time in enumerate(times):
        if time >= due - 1e-6:
            chosen.append(i)
            due += (1 + int((time - due + 1e-6) * fps)) / fps
    return chosen


def _upright(frame: Any) -> Image.Image:
    picture: Image.Image = frame.to_image()
    turned = int(getattr(frame, "rotation", 0) or 0)  # degrees, counterclockwise, that the file asks for
    return picture.rotate(turned, expand=True) if turned else picture
