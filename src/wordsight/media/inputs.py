"""MediaInput: the pictures or videos that a question is about, opened and upright."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from wordsight.errors import MediaError
from wordsight.media.images import Picture, load_picture
from wordsight.media.video import Video, is_video

Media = Picture | Video


@dataclass(frozen=True)
class MediaInput:
    """What a question is about: pictures, or videos."""

    pictures: tuple[Image.Image, ...] = ()
    videos: tuple[Video, ...] = ()

    @classmethod
    def of(cls, media: Media | Sequence[Media] | MediaInput) -> MediaInput:
        """Opened and upright. Raises MediaError if there is none, or pictures beside videos."""
        if isinstance(media, MediaInput):
            return media
        listed = [media] if isinstance(media, (str, Path, Image.Image, Video)) else list(media)
        opened = [_opened(item) for item in listed]
        videos = tuple(item for item in opened if isinstance(item, Video))
        pictures = tuple(item for item in opened if not isinstance(item, Video))
        if videos and pictures:
            raise MediaError(
                "a question is about pictures or about videos, not both; make a video of single frames with "
                "Video.of, or ask about its frames"
            )
        if not opened:
            raise MediaError("a question needs at least one image or video; got none")
        return cls(pictures, videos)

    @property
    def frames(self) -> list[Image.Image]:
        """All pictures, or the frames of all videos, in order."""
        return [*self.pictures, *(frame for video in self.videos for frame in video.frames)]


def _opened(item: Media) -> Image.Image | Video:
    if isinstance(item, Video):
        return item
    if isinstance(item, Image.Image) or not is_video(item):
        return load_picture(item)
    return Video.open(item)
