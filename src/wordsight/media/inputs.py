"""MediaInput: the pictures or videos that a question is about, opened and upright."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from wordsight._utils.notes import listen_to_notes, note
from wordsight.errors import MediaError, UsageError
from wordsight.media import formats
from wordsight.media.images import Picture, is_single, load_picture, read_picture, seekable
from wordsight.media.video import Sampling, UnknownFilm, Video, kind_of, read_film

Media = Picture | Video


@dataclass(frozen=True)
class MediaInput:
    """What a question is about: pictures, or videos; and what had to be assumed about them, in sentences."""

    pictures: tuple[Image.Image, ...] = ()
    videos: tuple[Video, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        media: Media | Sequence[Media] | MediaInput,
        *,
        frames: int | None = None,
        fps: float | None = None,
    ) -> MediaInput:
        """Opened and upright; files are pictures or videos by their content, and of videos so many `frames`
        or `fps` are taken, as by Video.open.

        Raises MediaError if there is none, one cannot be read, or there are pictures beside videos.
        """
        if isinstance(media, MediaInput):
            return media
        sampling = Sampling(frames=frames, fps=fps)
        given: list[Any] = [media] if isinstance(media, Video) or is_single(media) else list(media)  # type: ignore[arg-type]  # several
        notes: list[str] = []
        with listen_to_notes(notes.append):
            opened = [read_media(item, sampling) for item in given]
        for text in notes:
            note(text)
        check_sampling(sampling, opened)
        return cls.holding(opened, notes)

    @classmethod
    def holding(cls, opened: Sequence[Image.Image | Video], notes: Sequence[str] = ()) -> MediaInput:
        """Of pictures or videos that are opened. Raises MediaError if there is none, or some of each."""
        videos = tuple(item for item in opened if isinstance(item, Video))
        pictures = tuple(item for item in opened if not isinstance(item, Video))
        if videos and pictures:
            raise MediaError(
                "a question is about pictures or about videos, not both; make a video of single frames with "
                "Video.of, or ask about its frames"
            )
        if not opened:
            raise MediaError("a question needs at least one image or video; got none")
        return cls(pictures, videos, tuple(notes))

    @property
    def frames(self) -> list[Image.Image]:
        """All pictures, or the frames of all videos, in order."""
        return [*self.pictures, *(frame for video in self.videos for frame in video.frames)]


def check_sampling(sampling: Sampling, opened: Sequence[Image.Image | Video]) -> None:
    """Raises UsageError if frames are asked for, and none of these is a video."""
    if sampling != Sampling() and not any(isinstance(item, Video) for item in opened):
        raise UsageError(
            "frames and fps are for videos, and what was given is none "
            f"(frames={sampling.frames}, fps={sampling.fps})"
        )


def read_media(item: Media, sampling: Sampling, *, pixels: int = formats.PIXELS) -> Image.Image | Video:
    """The picture or video that this is, by its content, of at most so many pixels if it is a file."""
    if isinstance(item, Video):
        return item
    if isinstance(item, Image.Image) or hasattr(item, "__array__"):
        return load_picture(item)
    file, name = seekable(item, "picture or video")
    kind = kind_of(file, name)
    if kind == "picture":
        return read_picture(file, name, pixels=pixels)
    try:
        return read_film(file, name, sampling, pixels=pixels)
    except UnknownFilm as error:
        if formats.has_video_suffix(name):
            raise
        raise MediaError(
            f"{name} is no picture or video that can be read; expected {formats.READ}, or a film"
        ) from error
