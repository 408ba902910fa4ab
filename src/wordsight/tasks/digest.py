"""Digest: what tells questions from others, to the last pixel of their pictures."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

from wordsight.errors import MediaError
from wordsight.media.images import picture_digest
from wordsight.media.video import Video
from wordsight.tasks.base import Example


def questions_digest(examples: Iterable[Example]) -> str:
    """Of all that the model is given: the content of pictures, the questions, and what was said before."""
    digest = sha256()
    pictures: dict[str, str] = {}
    for example in examples:
        if example.picture_id not in pictures:
            pictures[example.picture_id] = media_digest(example.images)
        asked = (example.picture_id, pictures[example.picture_id], example.question, example.turns)
        digest.update(repr(asked).encode())
    return digest.hexdigest()


def media_digest(media: Any) -> str:
    """Of pictures or videos, by the content of their files or by their pixels."""
    if known := getattr(media, "digest", None):
        return str(known)
    if isinstance(media, (str, Path)):
        return file_digest(media)
    if isinstance(media, bytes):
        return sha256(media).hexdigest()
    if isinstance(media, Video):
        return f"{media.times} {media.duration} {media_digest(media.frames)}"
    if isinstance(media, (list, tuple)):
        return " ".join(map(media_digest, media))
    return picture_digest(media)


def file_digest(path: str | Path) -> str:
    """Of a file's content. Raises MediaError if it cannot be read."""
    digest = sha256()
    try:
        with open(path, "rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
    except OSError as error:
        raise MediaError(f"cannot open {path}: {error.strerror}; expected a picture or video") from error
    return digest.hexdigest()
