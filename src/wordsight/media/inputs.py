"""From pictures and a question to what the processor makes of them: the inputs of a whole prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wordsight.errors import UsageError
from wordsight.media.images import Picture, load_picture
from wordsight.media.video import Video, is_video

Media = Picture | Video
Turn = tuple[str, str]  # a question that was asked before, and its answer


@dataclass(frozen=True)
class Shown:
    """What a question is about: pictures, or videos."""

    pictures: tuple[Image.Image, ...] = ()
    videos: tuple[Video, ...] = ()

    @classmethod
    def of(cls, media: Media | Sequence[Media] | Shown) -> Shown:
        """Opened and upright. Raises UsageError if there is none, or pictures beside videos."""
        if isinstance(media, Shown):
            return media
        listed = [media] if isinstance(media, (str, Path, Image.Image, Video)) else list(media)
        opened = [_opened(item) for item in listed]
        videos = tuple(item for item in opened if isinstance(item, Video))
        pictures = tuple(item for item in opened if not isinstance(item, Video))
        if videos and pictures:
            raise UsageError(
                "a question is about pictures or about videos, not both; make a video of single frames with "
                "Video.of, or ask about its frames"
            )
        if not opened:
            raise UsageError("a question needs at least one image or video; got none")
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


def process(processor: Any, shown: Shown, question: str, turns: Sequence[Turn] = ()) -> Any:
    """The inputs of a question after earlier turns, a batch of one. Videos go to a processor that takes them
    as such, to any other as pictures.

    Raises UsageError if the question holds a placeholder, or the processor refuses what it is given.
    """
    if shown.videos and getattr(processor, "video_processor", None) is None:
        shown = Shown(pictures=tuple(shown.frames))
    text = layout(processor, shown, question, turns)
    given: dict[str, Any] = {"images": [list(shown.pictures)]} if shown.pictures else {}
    if shown.videos:
        given = {
            "videos": [[np.stack([np.asarray(frame) for frame in video.frames]) for video in shown.videos]],
            "video_metadata": [_metadata(video) for video in shown.videos],
            "do_sample_frames": False,
        }
    tokenizer = processor.tokenizer
    if tokenizer.bos_token and text.startswith(tokenizer.bos_token):
        given["add_special_tokens"] = False  # the template has begun the text already
    try:
        return processor(text=[text], return_tensors="pt", **given)
    except (ValueError, TypeError, IndexError) as error:
        sizes = ", ".join(f"{frame.width}x{frame.height}" for frame in shown.frames[:3])
        raise UsageError(
            f"{type(processor).__name__} cannot prepare these pictures ({sizes}): "
            f"{str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}"
        ) from error


def _metadata(video: Video) -> dict[str, Any]:
    """Frames as they are, counted in milliseconds: time stamps are right however far apart the frames are."""
    return {
        "total_num_frames": round(1000 * len(video.frames) / video.fps),
        "fps": 1000.0,
        "duration": video.duration,
        "frames_indices": [round(1000 * time) for time in video.times],
    }


def layout(processor: Any, shown: Shown, question: str, turns: Sequence[Turn]) -> str:
    """The prompt as the chat template lays it out, with one placeholder for each picture or video."""
    for mark in (getattr(processor, name, None) for name in ("image_token", "video_token")):
        if mark and any(mark in text for text in (question, *(part for turn in turns for part in turn))):
            raise UsageError(f"the question holds the image token {mark!r}; leave it out")
    if not processor.chat_template:
        if turns or not shown.pictures:
            raise UsageError(
                f"{type(processor).__name__} has no chat template, so that it takes one question about "
                "pictures and no earlier turns"
            )
        return f"{processor.image_token * len(shown.pictures)}{question}"
    kind, count = ("video", len(shown.videos)) if shown.videos else ("image", len(shown.pictures))
    messages = []
    for asked, answered in turns:
        messages += [_said("user", asked), _said("assistant", answered)]
    messages.append(_said("user", question))
    messages[0]["content"][:0] = [{"type": kind} for _ in range(count)]
    text: str = processor.apply_chat_template(messages, add_generation_prompt=True)
    return text


def _said(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}
