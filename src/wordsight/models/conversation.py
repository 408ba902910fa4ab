"""Conversation: what was said and shown, up to a question, in the form of Hugging Face's `messages`."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

from PIL import Image

from wordsight._utils.notes import listen_to_notes, note
from wordsight.errors import UsageError, located, shown
from wordsight.media.images import URL
from wordsight.media.inputs import MediaInput, check_sampling, read_media
from wordsight.media.video import Sampling, Video

Turn = tuple[str, str]  # a question that was asked before, and its answer
Message = Mapping[str, Any]
ROLES = ("system", "user", "assistant")
PLACES = ("path", "url", "base64")  # where a part has its picture or film, beside the name of its type
MEDIA = {"image": ("image", *PLACES), "video": ("video", *PLACES), "image_url": ("image_url",)}


@dataclass(frozen=True)
class Conversation:
    """Messages that end with a question of the user's. Each is {"role": ..., "content": [part, ...]}, a part
    {"type": "text", "text": ...}, {"type": "image"} or {"type": "video"}; the pictures and the videos are
    those of `media`, in order. `names` is what they are called where they come from, in the order of parts.
    """

    messages: tuple[Message, ...]
    media: MediaInput
    names: tuple[str, ...] = ()

    @classmethod
    def about(cls, media: MediaInput, question: str, turns: Sequence[Turn] = ()) -> Conversation:
        """A question about media after earlier turns: the media come first."""
        kind, count = ("video", len(media.videos)) if media.videos else ("image", len(media.pictures))
        texts = [text for turn in turns for text in turn]
        contents = [[_text(text)] for text in (*texts, question)]
        contents[0][:0] = [{"type": kind} for _ in range(count)]
        roles = cycle(("user", "assistant"))
        messages = [{"role": next(roles), "content": content} for content in contents]
        return cls(tuple(messages), media)

    @classmethod
    def of(
        cls, messages: Sequence[Message], sampling: Sampling | None = None, *, folder: Path | None = None
    ) -> Conversation:
        """Messages as Hugging Face's processors and OpenAI's API take them, their media opened. A part holds
        a picture as "image", "path", "url" or "base64" (also {"type": "image_url", "image_url": {"url":
        ...}}), a film as "video", "path", "url" or "base64": whatever `MediaInput.of` reads, data URLs, and
        for a film a list of its frames. Which of the two it is, its content tells. `sampling` is of films;
        paths count from `folder`, if one is given.

        Raises UsageError for what is no message, and if the last one is no question of the user's.
        """
        if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
            raise UsageError(
                f"messages must be a list of {{'role': ..., 'content': ...}}, got {shown(messages)}"
            )
        sampling, found, notes = sampling or Sampling(), list[Message](), list[str]()
        opened, names = list[Image.Image | Video](), list[str]()
        with listen_to_notes(notes.append):
            for number, message in enumerate(messages, 1):
                with located(f"message {number}"):
                    parts = list(_parts(message, folder))
                    for part in (part for part in parts if "medium" in part):
                        medium = part.pop("medium")
                        names.append(str(medium) if isinstance(medium, (str, Path)) else "")
                        opened.append(read_media(medium, sampling))
                        part["type"] = "video" if isinstance(opened[-1], Video) else "image"
                    found.append({"role": message["role"], "content": parts})
        for text in notes:
            note(text)
        check_sampling(sampling, opened)
        pictures = tuple(one for one in opened if isinstance(one, Image.Image))
        videos = tuple(one for one in opened if isinstance(one, Video))
        made = cls(tuple(found), MediaInput(pictures, videos, tuple(notes)), tuple(names))
        if made.messages[-1]["role"] != "user" or not made.question.strip():
            raise UsageError("the last message must be of the user and hold a text, which is the question")
        return made

    @property
    def question(self) -> str:
        """The text of the last message."""
        texts = _texts(self.messages[-1])
        return texts[0] if len(texts) == 1 else "\n".join(texts)

    @property
    def turns(self) -> int:
        """How many questions were asked before."""
        return [message["role"] for message in self.messages].count("user") - 1

    def earlier_texts(self) -> Iterator[tuple[str, str, str]]:
        """All texts but the question: whose they are, what errors call them, and themselves."""
        called = {
            "system": "the system text",
            "user": "an earlier question",
            "assistant": "an earlier answer",
        }
        for message in self.messages[:-1]:
            for text in _texts(message):
                yield message["role"], called[message["role"]], text

    def followed_by(self, answer: str, question: str) -> Conversation:
        """The conversation after its question was answered, with the next one."""
        more = (
            {"role": "assistant", "content": [_text(answer)]},
            {"role": "user", "content": [_text(question)]},
        )
        return replace(self, messages=(*self.messages, *more))

    def with_frames_as_pictures(self) -> Conversation:
        """Every frame of a video is a picture in its place."""
        pictures, videos = iter(self.media.pictures), iter(self.media.videos)
        shown_now: list[Image.Image] = []
        messages = []
        for message in self.messages:
            content: list[Mapping[str, Any]] = []
            for part in message["content"]:
                if part["type"] == "text":
                    content.append(part)
                    continue
                frames = next(videos).frames if part["type"] == "video" else [next(pictures)]
                shown_now += frames
                content += [{"type": "image"}] * len(frames)
            messages.append({**message, "content": content})
        return Conversation(tuple(messages), MediaInput(pictures=tuple(shown_now), notes=self.media.notes))


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _texts(message: Message) -> list[str]:
    return [part["text"] for part in message["content"] if part["type"] == "text"]


def _parts(message: Any, folder: Path | None) -> Iterator[dict[str, Any]]:
    """The parts of a message; those of media are what is to be opened, as "medium"."""
    content = (message.get("content") or ()) if isinstance(message, Mapping) else None
    if not isinstance(content, Sequence) or message.get("role") not in ROLES:
        raise UsageError(
            f"expected {{'role': {' or '.join(map(repr, ROLES))}, 'content': ...}}, got {shown(message)}"
        )
    for part in [_text(content)] if isinstance(content, str) else content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text" and isinstance(part.get("text"), str):
            yield _text(part["text"])
            continue
        names = MEDIA.get(str(kind), ())
        name, medium = next(((name, part[name]) for name in names if part.get(name) is not None), ("", None))
        if kind == "image_url" and isinstance(medium, Mapping):
            medium = medium.get("url")
        if medium is None:
            raise UsageError(
                "a part must be {'type': 'text', 'text': ...}, {'type': 'image', 'image': ...} or "
                f"{{'type': 'video', 'video': ...}}, got {shown(part)}"
            )
        if kind == "video" and isinstance(medium, (list, tuple)):
            yield {"medium": Video.of([_located(frame, folder) for frame in medium])}
        else:
            yield {"medium": _located(f"data:;base64,{medium}" if name == "base64" else medium, folder)}


def _located(medium: Any, folder: Path | None) -> Any:
    """What a data URL holds, and a path as it counts from a folder; anything else as it is."""
    if not isinstance(medium, str):
        return medium
    if not medium.startswith("data:"):
        return folder / medium if folder and not URL.match(medium) else medium
    head, _, data = medium.partition(",")
    try:
        if not head.endswith(";base64"):
            raise ValueError
        return b64decode(data, validate=True)
    except ValueError as error:
        raise UsageError(f"a data URL must be data:image/...;base64,..., got {shown(medium)}") from error
