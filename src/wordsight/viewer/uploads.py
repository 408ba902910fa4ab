"""Uploads: from the body of a request to pictures or videos, within limits; nothing is read by its path."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from PIL import Image
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.types import Message, Receive

from wordsight._utils.notes import listen_to_notes
from wordsight.errors import UsageError, WordsightError
from wordsight.media.formats import PIXELS
from wordsight.media.images import NamedBytes
from wordsight.media.inputs import MediaInput, read_media
from wordsight.media.video import Sampling, Video
from wordsight.viewer.handler import ViewRequest
from wordsight.viewer.limits import timed

MIB = 2**20
MEDIA, QUESTION = "media", "question"  # the fields of the form
MAX_FILES = 16
CHARACTERS = 2000  # of a question
NAME = 80  # characters of a file's name that are shown


class TooLarge(WordsightError):
    """The body of a request is larger than the server takes."""


async def receive_form(request: Request, limit: int) -> tuple[list[tuple[str, bytes]], str]:
    """The names and bytes of the files of a form, and its question. Raises TooLarge as soon as more than
    `limit` bytes are announced or come, TooSlow, and UsageError if the form has other fields.
    """
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large(limit)
    counted = Request(request.scope, _counted(timed(request.receive), limit))
    async with counted.form(max_files=MAX_FILES, max_fields=1) as form:
        _check_fields(form)
        files = [file for file in form.getlist(MEDIA) if isinstance(file, UploadFile)]
        return [(_label(file), await file.read()) for file in files], str(form.get(QUESTION, "")).strip()


def _counted(receive: Receive, limit: int) -> Receive:
    """What `receive` gives, until it is too much: the announced length may be wrong or missing."""
    total = 0

    async def receive_counted() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > limit:
            raise too_large(limit)
        return message

    return receive_counted


def too_large(limit: int) -> TooLarge:
    """The error of more than `limit` bytes."""
    return TooLarge(
        f"the files are larger than {limit / MIB:g} MiB together; make them smaller, or start the server "
        "with a larger --max-upload"
    )


def _check_fields(form: FormData) -> None:
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) != (name == MEDIA) or name not in (MEDIA, QUESTION):
            kind = "a file" if isinstance(value, UploadFile) else "a text"
            raise UsageError(
                f"the form has {kind} called {name[:NAME]!r}; expected files called {MEDIA!r} and a text "
                f"called {QUESTION!r}"
            )


def _label(file: UploadFile) -> str:
    """What an uploaded file is called: its name without folders, which is only shown."""
    return (file.filename or "").replace("\\", "/").rpartition("/")[2][-NAME:] or "unnamed"


def open_uploads(files: Sequence[tuple[str, bytes]], question: str) -> ViewRequest:
    """The question about these files. Raises MediaError if one cannot be read or they have too many pixels,
    and UsageError if the question is too long.
    """
    if len(question) > CHARACTERS:
        raise UsageError(f"the question has {len(question)} characters; expected at most {CHARACTERS}")
    opened: list[Image.Image | Video] = []
    notes: list[str] = []
    pixels = 0
    with listen_to_notes(notes.append):
        for name, data in files:
            room = PIXELS - pixels  # of all together
            opened.append(read_media(NamedBytes(data, name), Sampling(), pixels=room))
            pixels += sum(frame.width * frame.height for frame in MediaInput.holding(opened[-1:]).frames)
    digest = hashlib.sha256(b"".join(hashlib.sha256(data).digest() for _, data in files)).hexdigest()
    return ViewRequest(MediaInput.holding(opened, notes), [name for name, _ in files], digest, question)
