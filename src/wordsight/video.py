"""Video: frames of a film, from a file or from pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from wordsight.errors import UsageError
from wordsight.pictures import Picture, load_picture

SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})


@dataclass(frozen=True, eq=False)
class Video:
    """Frames in order, RGB and of one size, and when each is shown, in seconds from the first of the film."""

    frames: tuple[Image.Image, ...]
    times: tuple[float, ...]

    @property
    def fps(self) -> float:
        """Frames a second, as far apart as these are; 1 for a single one."""
        span = self.times[-1] - self.times[0]
        return (len(self.frames) - 1) / span if span > 0 else 1.0

    @classmethod
    def of(cls, pictures: Sequence[Picture], *, fps: float = 1.0) -> Video:
        """A video of pictures that are shown `fps` a second. Raises UsageError if they are none or differ in
        size.
        """
        frames = tuple(load_picture(picture) for picture in pictures)
        if not frames:
            raise UsageError("a video needs at least one frame; got none")
        if sizes := {frame.size for frame in frames} - {frames[0].size}:
            raise UsageError(
                f"the frames of a video are of one size; got {frames[0].size} and {sorted(sizes)[0]}"
            )
        if not fps > 0:
            raise UsageError(f"fps must be above 0, got {fps}")
        return cls(frames, tuple(i / fps for i in range(len(frames))))

    @classmethod
    def open(cls, path: str | Path, *, frames: int | None = None, fps: float | None = None) -> Video:
        """So many `frames` of a file, evenly spread from its first to its last (8 by default), or `fps` of
        them a second.

        Raises UsageError if the file is no video, is damaged, or holds no frame.
        """
        if (frames is not None and frames < 1) or (fps is not None and not fps > 0) or (frames and fps):
            raise UsageError(
                f"expected frames from 1 on, or fps above 0, one of the two; got frames={frames}, fps={fps}"
            )
        if not Path(path).is_file():
            raise UsageError(f"no such video: {path}; expected the path of a video file")
        av = _decoder()
        try:
            with av.open(str(path)) as film:
                times = _times(film)
                is_cut = _is_cut(film.streams.video[0], times)
            wanted = _chosen(times, 8 if frames is None else frames, fps)
            with av.open(str(path)) as film:
                found = {i: _upright(frame) for i, frame in enumerate(film.decode(video=0)) if i in wanted}
        except (av.error.FFmpegError, IndexError, ValueError) as error:
            raise UsageError(f"{path} is no video that can be read, or is damaged ({error})") from error
        if not times:
            raise UsageError(f"{path} is a video with no frames")
        if is_cut or set(wanted) - set(found):
            raise UsageError(f"{path} is cut short: it holds less than its header announces; save it again")
        return cls(tuple(found[i] for i in wanted), tuple(times[i] - times[0] for i in wanted))


def _decoder() -> Any:
    try:
        import av
        import av.error
    except ImportError as error:
        raise UsageError("reading videos needs PyAV: pip install 'wordsight[video]'") from error
    return av


def _times(film: Any) -> list[float]:
    """When each frame is shown, from the packets alone: nothing is decoded."""
    stream = film.streams.video[0]
    stamps = [packet.pts for packet in film.demux(stream) if packet.size and packet.pts is not None]
    return [float(stamp * stream.time_base) for stamp in sorted(stamps)]


def _is_cut(stream: Any, times: list[float]) -> bool:
    """Whether the header announces more frames, or a later end (Matroska and WebM), than there is."""
    if not times or len(times) < stream.frames:
        return bool(len(times) < stream.frames)
    told = stream.metadata.get("DURATION", "0:0:0").split(":")
    end = sum(60**power * float(part) for power, part in enumerate(reversed(told)))
    return bool(stream.average_rate and end - times[-1] > 1.5 / float(stream.average_rate))


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
